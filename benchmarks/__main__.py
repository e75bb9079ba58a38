"""`python -m benchmarks [NAME ...]`: run benchmarks, print what they came to, judge their bounds.

Ends with 1 if a bound is exceeded and no file in docs/decisions/ says why.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from benchmarks import backfill, bulk, coverage, events, gold, lookup, outage, start, upkeep
from benchmarks.measure import ROOT, Outcome

BENCHMARKS: dict[str, Callable[..., Outcome]] = {
    "bulk": bulk.run,
    "backfill": backfill.run,
    "events": events.run,
    "gold": gold.run,
    "lookup": lookup.run,
    "outage": outage.run,
    "start": start.run,
    "upkeep": upkeep.run,
    "coverage": coverage.run,
}
BY_HAND = {"upkeep"}
"""Those that take half an hour: run when they are named."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks that are named, or all, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--rounds", type=int, help="how often each contender runs (odd)")
    given = parser.parse_args(arguments)
    unknown = sorted(set(given.names) - set(BENCHMARKS))
    if unknown:
        parser.error(
            f"there is no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}"
        )
    options = {"rounds": given.rounds} if given.rounds else {}
    return judge(
        [BENCHMARKS[name](**options) for name in given.names or sorted(BENCHMARKS.keys() - BY_HAND)]
    )


def judge(outcomes: Sequence[Outcome]) -> int:
    """Print and keep what benchmarks came to; return 1 if one is too slow without a reason."""
    code = 0
    for outcome in outcomes:
        print(*outcome.lines(), sep="\n")
        print(f"  written to {outcome.write().relative_to(ROOT)}")
        if not outcome.kept:
            why = f"docs/decisions/{outcome.decision}"
            print(f"  {why} says why." if outcome.explained() else f"  {why} does not say why.")
            code = code if outcome.explained() else 1
    return code


if __name__ == "__main__":
    sys.exit(main())
