"""Backfill: many small days through the real assets, against the same graph with empty bodies.

Both contenders have the same specs, checks and partitions, say the same to Dagster about every
day, and keep it in instance storage of the same kind. What remains is what the product itself
costs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measure import ROOT, Bound, Outcome, Work, clean_environment, middle, work

DAYS = 365
DECISION = "benchmark-backfill.md"


def run(days: int = DAYS, rounds: int = 1) -> Outcome:
    """Measure; the contenders take turns.

    Args:
        days: Days to fill, in runs of 30.
        rounds: How often each contender runs; odd, for the median.
    """
    floor, filled = [], []
    with _world(days) as simulator:
        for _ in range(rounds):
            floor.append(_once("floor", days, simulator))
            filled.append(_once("assets", days, simulator))
    if filled[0].told["events"] != floor[0].told["events"]:
        raise RuntimeError(f"not the same events: {filled[0].told} against {floor[0].told}")
    ours = middle([one.told["seconds"] for one in filled])
    theirs = middle([one.told["seconds"] for one in floor])
    return Outcome(
        "backfill",
        DECISION,
        [Bound("times the time of empty bodies", round(ours / theirs, 3), 1.5)],
        {
            "days": days,
            "runs": filled[0].told["runs"],
            "events": filled[0].told["events"],
            "empty bodies, s": theirs,
            "empty bodies, processor s": middle([one.cpu_seconds for one in floor]),
            "assets, s": ours,
            "assets, processor s": middle([one.cpu_seconds for one in filled]),
            "rounds": rounds,
        },
    )


def _once(contender: str, days: int, simulator: str) -> Work:
    folder = Path(tempfile.mkdtemp(prefix="intel-backfill-"))
    try:
        return work(
            "benchmarks.backfill_work",
            contender,
            str(days),
            folder=folder,
            DAGSTER_HOME=str(ROOT),
            INTEL_DAGSTER_STORAGE=str(folder / "dagster"),
            INTEL_LAKE=str(folder / "lake"),
            INTEL_STATE=str(folder / "state"),
            INTEL_SIMULATOR=simulator,
        )
    finally:
        shutil.rmtree(folder)


@contextmanager
def _world(days: int) -> Iterator[str]:
    """Run the simulator, with a small file for each day, in its own process; give its address."""
    with tempfile.TemporaryDirectory(prefix="intel-world-") as folder:
        command = [sys.executable, "-m", "benchmarks.backfill_world", folder, str(days)]
        process = subprocess.Popen(
            command, cwd=folder, env=clean_environment(), stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            if not address:
                raise RuntimeError("The simulator did not start.")
            yield address
        finally:
            process.terminate()
            process.communicate()
