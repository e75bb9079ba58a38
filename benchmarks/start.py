"""Start: what loading the definitions costs over importing Dagster, in fresh processes."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from benchmarks.measure import Bound, Outcome, work

ROUNDS = 7
DECISION = "benchmark-start.md"


def run(rounds: int = ROUNDS) -> Outcome:
    """Measure; the contenders take turns, and the best of each counts.

    Args:
        rounds: How often each contender runs.
    """
    dagster, definitions = [], []
    folder = Path(tempfile.mkdtemp(prefix="intel-start-"))
    try:
        for _ in range(rounds + 1):
            dagster.append(work("benchmarks.start_work", "dagster", folder=folder).seconds)
            definitions.append(work("benchmarks.start_work", "definitions", folder=folder).seconds)
    finally:
        shutil.rmtree(folder)
    # The first of each only warms the caches of the system.
    theirs, ours = min(dagster[1:]), min(definitions[1:])
    return Outcome(
        "start",
        DECISION,
        [Bound("seconds over `import dagster`", round(ours - theirs, 3), 1.0)],
        {
            "import dagster, s": round(theirs, 3),
            "load the definitions, s": round(ours, 3),
            "rounds": rounds,
        },
    )
