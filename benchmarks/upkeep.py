"""Upkeep: what 30 days at 15 minutes leave behind, and how soon SQL answers over it.

The month is simulated, without Dagster; upkeep is done once a day. Files that no version needs any
more are younger than the promised retention, so none of them goes: this is the longest log and the
fullest folder that a source of that pace ever has.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from benchmarks.measure import Bound, Outcome, middle, work

DAYS = 30
TIMES = 96
QUERY = "SELECT count(*), max(received_at) FROM ops.fetches"
DECISION = "benchmark-upkeep.md"


def run(rounds: int = 5, days: int = DAYS, times: int = TIMES) -> Outcome:
    """Measure.

    Args:
        rounds: How often SQL is asked, in a process of its own each time.
        days: How many days pass.
        times: How many runs a day has.
    """
    folder = Path(tempfile.mkdtemp(prefix="intel-upkeep-"))
    try:
        arguments = (folder, str(days), str(times))
        lived = work("benchmarks.upkeep_work", *arguments, folder=folder).told
        answers = [_ask(folder) for _ in range(rounds + 1)][1:]
    finally:
        shutil.rmtree(folder)
    files, first, last = lived["files"], lived["first"], lived["last"]
    return Outcome(
        "upkeep",
        DECISION,
        [
            Bound("files in a partition, at most", max(files.values()), 4),
            Bound("cold `intel sql`, s", middle(answers), 1.5),
            # By the processor, which other work on the machine does not slow down.
            Bound("times the work of a run after a month", last[1] / first[1], 1.5),
        ],
        {
            "runs": lived["runs"],
            "a run on the first day, s": round(first[0], 3),
            "a run on the last day, s": round(last[0], 3),
            "a run on the first day, processor s": round(first[1], 3),
            "a run on the last day, processor s": round(last[1], 3),
            "upkeep of the last night, s": round(lived["night"], 3),
            "tables": len(files),
            "entries in the log of ops.fetches": lived["log"],
            "the lake and its past, MB": lived["bytes"] // 10**6,
            "rounds": rounds,
        },
    )


def _ask(folder: Path) -> float:
    """Ask in a fresh process, as a person would, and return the seconds."""
    return work(
        "intel_assets.cli",
        "sql",
        QUERY,
        "--format",
        "json",
        folder=folder,
        INTEL_LAKE=str(folder / "lake"),
        INTEL_STATE=str(folder / "state"),
        DAGSTER_HOME=str(folder),
    ).seconds
