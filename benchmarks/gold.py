"""Gold: what the tables over all feeds take, next to one plain query that says the same.

Twelve feeds tell five million records in ninety days. The plain query is the SQL of the gold tables
itself, evaluated by DuckDB at once over what the feeds told, with the same memory: it writes
nothing, checks nothing, and has to be asked as a whole again for every new day.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from benchmarks.gold_world import lake_at, tell
from benchmarks.measure import Bound, Outcome, Work, work

DAYS = 90
DECISION = "benchmark-gold.md"


def run(rounds: int = 1, days: int = DAYS, share: float = 1.0) -> Outcome:
    """Measure.

    Args:
        rounds: How often all is measured; the quickest of each counts.
        days: How many days are told of.
        share: How much of a day's records there is.
    """
    found = [_once(days, share) for _ in range(rounds)]
    plain, full, day = (min(one[at].told["seconds"] for one in found) for at in range(3))
    told = [found[0][at].told for at in range(3)]
    assert told[0]["indicators"] == told[1]["indicators"], "they do not say the same"
    return Outcome(
        "gold",
        DECISION,
        [
            Bound("the full build, times the plain query", round(full / plain, 2), 3),
            Bound("the full build, peak MiB", max(one[1].peak_mib for one in found), 4096),
            Bound("one new day, times the plain query", round(day / plain, 2), 0.5),
        ],
        {
            "sightings": told[1]["sightings rows"],
            "indicators": told[1]["indicators"],
            "the plain query, s": round(plain, 1),
            "the plain query, peak MiB": max(one[0].peak_mib for one in found),
            "the full build, s": round(full, 1),
            "of it feeds_daily, s": round(told[1]["feeds_daily"], 1),
            "of it sightings, s": round(told[1]["sightings"], 1),
            "of it indicator_parts, s": round(told[1]["indicator_parts"], 1),
            "one new day, s": round(day, 1),
            "one new day, sightings": told[2]["sightings rows"],
            "one new day, indicators made": told[2]["made"],
            "one new day, peak MiB": max(one[2].peak_mib for one in found),
            "rounds": rounds,
        },
    )


def _once(days: int, share: float) -> list[Work]:
    folder = Path(tempfile.mkdtemp(prefix="intel-gold-"))
    try:
        work("benchmarks.gold_world", folder, str(days), str(share), folder=folder)
        taken = [
            work("benchmarks.gold_work", contender, folder, str(days), folder=folder)
            for contender in ("plain", "full")
        ]
        tell(lake_at(folder), days, days + 1, share)
        day = work("benchmarks.gold_work", "day", folder, str(days + 1), folder=folder)
        return [*taken, day]
    finally:
        shutil.rmtree(folder)
