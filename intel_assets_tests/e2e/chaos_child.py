"""Processes to be killed: a nursery that imports everything once and forks a run for each line.

    python -m intel_assets_tests.e2e.chaos_child FOLDER SIMULATOR THRESHOLD POLICY

POLICY is JSON, what differs from the quick one; THRESHOLD is the breaker's. Each line on standard
input is `SOURCE FIRST LAST`; the answer is the process id of the run. The nursery itself never
touches Polars' or Delta's threads, so that a fork is a sound process.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from time import monotonic

from intel_assets.clock import parse_day
from intel_assets.ingest.documents import Window
from intel_assets_tests.e2e.chaos_world import Place, quick

ROOT = Path(__file__).parents[2]


def intel_command(*words: str) -> list[str]:
    """Return the `intel` command as this interpreter runs it."""
    return [sys.executable, "-m", "intel_assets.cli", *words]


def intel_environment(place: Place) -> dict[str, str]:
    """Return the environment in which `intel` works on a lake and asks its simulator."""
    return {
        **os.environ,
        "INTEL_LAKE": place.layout.root,
        "INTEL_MODE": "demo",
        "INTEL_STATE": str(place.folder / "state"),
        "INTEL_SIMULATOR": place.simulator,
        "INTEL_DAGSTER_STORAGE": str(place.folder / "dagster"),
        "DAGSTER_HOME": str(ROOT),
        "ABUSECH_AUTH_KEY": place.key,
    }


class Nursery:
    """A process that forks runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Keep the process."""
        self._process = process

    def start(self, source: str, first: date, last: date) -> int:
        """Begin a run and return its process id."""
        return int(self._ask(f"{source} {first} {last}"))

    def wait(self, pid: int, seconds: float) -> int | None:
        """Return how a run ended, or None if it still runs after so many seconds."""
        found = self._ask(f"wait {pid} {seconds}")
        return None if found == "runs" else int(found)

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


@contextmanager
def nursery(place: Place, scratch: Path, **policy: float) -> Iterator[Nursery]:
    """Give a nursery whose runs write to a lake; what they spool goes to a scratch folder."""
    options = [str(place.folder), place.simulator, str(place.threshold), json.dumps(policy)]
    scratch.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "intel_assets_tests.e2e.chaos_child", *options],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(scratch), "POLARS_MAX_THREADS": "2"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Nursery(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)


def _serve(place: Place, policy: Mapping[str, float]) -> None:
    for line in sys.stdin:
        words = line.split()
        if words[0] == "wait":
            answer = _wait(int(words[1]), float(words[2]))
        else:
            window = Window(parse_day(words[1]), parse_day(words[2]))
            answer = str(_fork(place, words[0], window, policy))
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


def _fork(place: Place, source: str, window: Window, policy: Mapping[str, float]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(2, 1)
        states = {result.state for result in place.run(quick(source, **policy), window.days)}
        code = 0 if states <= {"complete", "empty", "missing"} else 3
    finally:
        os._exit(code)


def _wait(pid: int, seconds: float) -> str:
    deadline = monotonic() + seconds
    opened = os.pidfd_open(pid)
    try:
        select.select([opened], [], [], max(0.0, deadline - monotonic()))
    finally:
        os.close(opened)
    found, status = os.waitpid(pid, os.WNOHANG)
    return str(os.waitstatus_to_exitcode(status)) if found else "runs"


if __name__ == "__main__":
    _serve(
        Place(Path(sys.argv[1]), sys.argv[2], threshold=int(sys.argv[3])), json.loads(sys.argv[4])
    )
