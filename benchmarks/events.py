"""Events: what Dagster's storage takes for one, with connections that stay open and without."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.measure import Bound, Outcome, work

ROUNDS = 5
DECISION = "benchmark-events.md"


def run(rounds: int = ROUNDS) -> Outcome:
    """Measure; the contenders take turns, and the median of each counts.

    Args:
        rounds: How often each contender runs.
    """
    found: dict[str, list[float]] = {"dagster": [], "ours": []}
    for _ in range(rounds):
        for contender, taken in found.items():
            folder = Path(tempfile.mkdtemp(prefix="intel-events-"))
            try:
                told = work("benchmarks.events_work", contender, folder, folder=folder).told
            finally:
                shutil.rmtree(folder)
            taken.append(told["milliseconds"])
    theirs, ours = median(found["dagster"]), median(found["ours"])
    return Outcome(
        "events",
        DECISION,
        [Bound("an event, times Dagster's own storage", round(ours / theirs, 3), 0.5)],
        {
            "Dagster's own, ms an event": round(theirs, 2),
            "with open connections, ms an event": round(ours, 2),
            "rounds": rounds,
        },
    )
