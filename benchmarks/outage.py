"""Outage: how much later the other sources are done when one is down, slow or garbled."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.measure import ROOT, Bound, Outcome, clean_environment
from intel_assets.settings import DEMO_KEY
from intel_assets.simulator.server import Simulator
from intel_assets.sources import registry

ROUNDS = 3
DECISION = "benchmark-outage.md"
SOURCE, HOST = "circl_osint", "www.circl.lu"
"""The source that takes longest, and so begins first."""
FAULTS = {"well": "", "down": "503", "slow": "timeout", "garbled": "garbage"}


def run(rounds: int = ROUNDS) -> Outcome:
    """Measure; the contenders take turns, and the median of each counts.

    Args:
        rounds: How often each contender runs.
    """
    taken: dict[str, list[float]] = {name: [] for name in FAULTS}
    for _ in range(rounds):
        for name, fault in FAULTS.items():
            taken[name].append(_once(fault))
    seconds = {name: median(found) for name, found in taken.items()}
    return Outcome(
        "outage",
        DECISION,
        [
            Bound(f"the others, one {name}: times all well", round(one / seconds["well"], 3), 1.1)
            for name, one in seconds.items()
            if name != "well"
        ],
        {f"the others, s, {name}": round(one, 1) for name, one in seconds.items()}
        | {"the one": SOURCE, "rounds": rounds},
    )


def _once(fault: str) -> float:
    """Return after how many seconds of `intel run` the last of the other sources is done."""
    folder = Path(tempfile.mkdtemp(prefix="intel-outage-"))
    try:
        with Simulator(auth_key=DEMO_KEY) as simulator:
            if fault:
                simulator.faults.add(fault, host=HOST, times=None)
            return _others_done(folder, simulator.url)
    finally:
        shutil.rmtree(folder)


def _others_done(folder: Path, simulator: str) -> float:
    environment = clean_environment() | {
        "INTEL_LAKE": str(folder / "lake"),
        "INTEL_STATE": str(folder / "state"),
        "INTEL_SIMULATOR": simulator,
        "DAGSTER_HOME": str(ROOT),
        "INTEL_DAGSTER_STORAGE": str(folder / "state" / "dagster"),
    }
    began, done = time.perf_counter(), 0.0
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "intel"), "run"],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    waited = {spec.name for spec in registry.load() if spec.kind != "lookup"} - {SOURCE}
    assert process.stderr is not None
    with process.stderr as told:
        for line in told:
            name = line.split(" ", 1)[0]
            if name in waited and ": done (" in line:
                waited.discard(name)
                done = time.perf_counter() - began
            if not waited:
                break
        # What the one that is down makes of it is no matter here.
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if waited:
        raise RuntimeError(f"{', '.join(sorted(waited))} did not come to an end.")
    return done
