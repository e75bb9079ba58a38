"""Look-up: what is known of an indicator, of ten million, and what a new day costs their table."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.lookup_work import some
from benchmarks.measure import Bound, Outcome, clean_environment, middle, work

INDICATORS = 10_000_000
DECISION = "benchmark-lookup.md"


def run(rounds: int = 5, indicators: int = INDICATORS) -> Outcome:
    """Measure.

    Args:
        rounds: How often the command is run.
        indicators: How many there are.
    """
    folder = Path(tempfile.mkdtemp(prefix="intel-lookup-"))
    try:
        number = str(indicators)
        made = work("benchmarks.lookup_world", folder, number, folder=folder).told
        (folder / "facts.duckdb").unlink()
        warm, scan = (
            work("benchmarks.lookup_work", one, folder, number, folder=folder).told
            for one in ("warm", "scan")
        )
        command = [_command(folder, value) for value in some(indicators)[: rounds + 1]][1:]
        day = work("benchmarks.lookup_work", "day", folder, number, folder=folder)
    finally:
        shutil.rmtree(folder)
    return Outcome(
        "lookup",
        DECISION,
        [
            Bound("a look-up in one process, median ms", round(warm["median"], 1), 20),
            Bound("the command `intel lookup`, s", middle(command), 1.5),
            Bound(
                "bytes written for a new day, share",
                round(day.told["written"] / day.told["bytes"], 4),
                0.1,
            ),
        ],
        {
            "indicators": made["indicators"],
            "their table, MB": day.told["bytes"] // 10**6,
            "looked up": warm["asked"],
            "of them known": warm["known"],
            "the slowest look-up, ms": round(warm["worst"], 1),
            "a plain scan, ms": round(scan["median"], 1),
            "a plain scan, times a look-up": round(scan["median"] / warm["median"], 1),
            "indicators made for a new day": day.told["made"],
            "a new day, s": round(day.told["seconds"], 1),
            "a new day, peak MiB": day.peak_mib,
            "rounds": rounds,
        },
    )


def _command(folder: Path, value: str) -> float:
    command = [sys.executable, "-m", "intel_assets.cli", "lookup", value]
    environment = clean_environment() | {"INTEL_LAKE": str(folder / "lake")}
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began
