"""Running work in a process of its own, and judging what it took. Knows no benchmark."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DECISIONS = ROOT / "docs" / "decisions"
MIB = 2**20


@dataclass(frozen=True)
class Work:
    """What a process did.

    Attributes:
        told: What it wrote to its standard output, as JSON.
        seconds: From its start to its end.
        cpu_seconds: Processor time, user and system, of all its threads.
        peak_mib: The most memory that was its own at a time (resident set), MiB.
    """

    told: Mapping[str, Any]
    seconds: float
    cpu_seconds: float
    peak_mib: float


@dataclass(frozen=True)
class Bound:
    """A figure and what it may be at most."""

    what: str
    value: float
    at_most: float

    @property
    def kept(self) -> bool:
        """Whether the figure is within its bound."""
        return self.value <= self.at_most


@dataclass(frozen=True)
class Outcome:
    """What a benchmark came to.

    Attributes:
        name: The benchmark.
        decision: The file below docs/decisions/ that, if it is there, says with a profile what
            limits the benchmark; then a bound may be exceeded.
        bounds: What is judged.
        figures: What was measured besides, by name.
    """

    name: str
    decision: str
    bounds: Sequence[Bound]
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kept(self) -> bool:
        """Whether every bound is kept."""
        return all(bound.kept for bound in self.bounds)

    def explained(self, decisions: Path = DECISIONS) -> bool:
        """Whether a decision says why a bound is not kept."""
        return (decisions / self.decision).is_file()

    def write(self, folder: Path = RESULTS) -> Path:
        """Write bounds and figures as JSON, and return the file."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{self.name}.json"
        judged = [asdict(bound) | {"kept": bound.kept} for bound in self.bounds]
        whole = {"name": self.name, "bounds": judged, "figures": self.figures}
        file.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
        return file

    def lines(self) -> list[str]:
        """Return a small table of the figures and the bounds."""
        shown = [f"  {name:<44} {_told(value):>12}" for name, value in self.figures.items()]
        for bound in self.bounds:
            verdict = "kept" if bound.kept else "EXCEEDED"
            shown.append(
                f"  {bound.what:<44} {bound.value:>12.2f}   at most {bound.at_most:g}: {verdict}"
            )
        return [self.name, *shown]


def work(module: str, *arguments: str | Path, folder: Path, **environment: str) -> Work:
    """Run a module of this package in a fresh process and wait for its end.

    The process is given no setting of this machine: no `INTEL_…` variable and no `.env`.

    Args:
        module: The module, run as `python -m`; it writes one JSON object to its standard output.
        *arguments: What it is given.
        folder: Its working directory.
        **environment: Variables it gets on top.

    Raises:
        RuntimeError: If it fails.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    os.sync()  # what an earlier process left unwritten is not this one's burden
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, env=clean_environment() | environment, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with process.stdout as output:
        said = output.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}.")
    unit = 1 if sys.platform == "darwin" else 1024
    return Work(
        json.loads(said),
        seconds,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss * unit / MIB,
    )


def clean_environment() -> dict[str, str]:
    """Return the environment without settings of the product, with this package importable."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("INTEL_", "DAGSTER_"))
    }
    return kept | {"PYTHONPATH": str(ROOT)}


def middle(values: Sequence[float]) -> float:
    """Return the median, rounded for people."""
    return round(median(values), 3)


def _told(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
