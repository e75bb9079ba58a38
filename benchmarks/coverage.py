"""Coverage: how every day of sixty sources stands after ten years, and what is planned for it.

From real Delta tables on disk with a file for every day. Each round is a fresh process: what a
tick of the gap sensor costs that has nothing in memory yet.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from benchmarks.measure import Bound, Outcome, Work, middle, work

SOURCES, DAYS, ROUNDS = 60, 3650, 3
DECISION = "benchmark-coverage.md"


def run(rounds: int = ROUNDS, sources: int = SOURCES, days: int = DAYS) -> Outcome:
    """Measure.

    Args:
        rounds: How often; odd, for the median.
        sources: How many sources there are.
        days: How many days each of them has.
    """
    folder = Path(tempfile.mkdtemp(prefix="intel-coverage-"))
    size = (str(sources), str(days))
    try:
        made = work("benchmarks.coverage_work", "make", folder / "lake", *size, folder=folder)
        assessed = [_once("assess", folder, size) for _ in range(rounds)]
        looked = [_once("look", folder, size) for _ in range(rounds)]
    finally:
        shutil.rmtree(folder)
    told = assessed[0].told
    return Outcome(
        "coverage",
        DECISION,
        [
            Bound("seconds for coverage", middle([w.told["assess_s"] for w in assessed]), 2.0),
            Bound("seconds for the plan", middle([w.told["plan_s"] for w in assessed]), 0.2),
            Bound("MiB at most, imports included", middle([w.peak_mib for w in assessed]), 500.0),
            Bound("seconds for a tick of the sensor", middle([_tick(w) for w in looked]), 5.0),
        ],
        {
            "sources": sources,
            "expected days": int(told["days"]),
            "gaps": int(told["gaps"]),
            "planned": int(told["asks"]),
            "imports alone, MiB": middle([w.told["imported_mib"] for w in assessed]),
            "coverage, processor s": middle([w.cpu_seconds for w in assessed]),
            "a second tick, s": middle([w.told["again_s"] for w in looked]),
            "a tick at most, MiB": middle([w.peak_mib for w in looked]),
            "to make the lake, s": round(made.seconds, 1),
            "rounds": rounds,
        },
    )


def _once(what: str, folder: Path, size: tuple[str, str]) -> Work:
    return work("benchmarks.coverage_work", what, folder / "lake", *size, folder=folder)


def _tick(one: Work) -> float:
    return float(one.told["first_s"])
