"""Volume: whether a day has about as many rows as is usual. Pure functions over numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import median
from typing import Literal

from intel_assets.sources.spec import VolumeRule

HISTORY_DAYS = 56
"""How many days before a day say what is usual."""

_WEEK = 7
_SAME_WEEKDAYS = 3
_ANY_DAYS = 7


@dataclass(frozen=True)
class Usual:
    """How many rows are usual, and how that is known."""

    rows: float
    known_by: str


@dataclass(frozen=True)
class Verdict:
    """Whether a day's rows are to be believed.

    Attributes:
        usual: What they were measured against; None if there was nothing.
    """

    passed: bool
    usual: float | None
    description: str


def usual(
    kind: Literal["event", "state", "lookup"],
    day: date,
    history: Mapping[date, int],
    most: int | None = None,
) -> Usual | None:
    """Say how many rows a day should have, by the days before it.

    An event feed has its weekly rhythm: the median of the same weekday in the last eight weeks
    counts, or that of all days while there are fewer than three of these. A state feed's snapshot
    is like the one before, whatever day that was. While too little is known, a day is measured
    against the most that it held itself.

    Args:
        kind: The source's kind.
        day: The day.
        history: Rows of days; those not before `day` do not count.
        most: The most rows that this day had so far.

    Returns:
        None if too little is known.
    """
    found = _snapshot_before(day, history) if kind == "state" else _median_before(day, history)
    if found is None and most is not None:
        return Usual(most, "the most that this day had")
    return found


def judge(rule: VolumeRule, rows: int, against: Usual | None, *, whole: bool = True) -> Verdict:
    """Say whether a day's rows are too few or too many.

    Args:
        rule: When they are.
        rows: The day's rows.
        against: What is usual.
        whole: Whether the day is over: one that lasts may have too many rows, not too few.
    """
    if against is None:
        return Verdict(True, None, f"{rows:,} rows; too little history to say what is usual.")
    found = f"{rows:,} rows; {against.known_by}: {against.rows:,.0f}"
    if against.rows < rule.least:
        return Verdict(True, against.rows, f"{found}, too few to judge by.")
    if whole and rows < rule.collapse * against.rows:
        return Verdict(False, against.rows, f"{found}. Less than {rule.collapse:.0%} of it.")
    if rows > rule.burst * against.rows:
        return Verdict(False, against.rows, f"{found}. More than {rule.burst:g} times of it.")
    return Verdict(True, against.rows, f"{found}.")


def _snapshot_before(day: date, history: Mapping[date, int]) -> Usual | None:
    before = [d for d in _days_before(day) if d in history]
    return Usual(history[before[0]], f"the snapshot of {before[0]}") if before else None


def _median_before(day: date, history: Mapping[date, int]) -> Usual | None:
    before = [d for d in _days_before(day) if d in history]
    same = [history[d] for d in before if (day - d).days % _WEEK == 0]
    if len(same) >= _SAME_WEEKDAYS:
        return Usual(median(same), f"median of the {len(same)} {day:%A}s before")
    if len(before) >= _ANY_DAYS:
        return Usual(median(history[d] for d in before), f"median of {len(before)} days before")
    return None


def _days_before(day: date) -> list[date]:
    """Return the days that say what is usual, newest first."""
    return [day - timedelta(days=back) for back in range(1, HISTORY_DAYS + 1)]
