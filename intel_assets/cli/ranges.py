"""Gaps as people read them: ranges of days that stand alike, and what is done about each.

Pure functions over an assessment's frames; the commands that show them are in watch.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import polars as pl

WHOLE = ("complete", "empty", "collapsed", "stale")
"""States of days that are held, the last two of them with a doubt."""
GAPS = ("missing", "filling", "rejected", "failed", "lost", "collapsed", "stale")
"""States that somebody should know of, in the order in which they are counted up."""
NOT_ASKED = ("not_due", "disabled", "not_configured")

# Days, moments, and the years and months in the addresses that were asked.
_MOMENT = r"\d{4}-\d{2}-\d{2}( \d{2}:\d{2}(:\d{2})?( UTC)?)?|\d{4,}"
_DEADLINE = r"; recoverable until [0-9: -]+ UTC, then lost"


@dataclass(frozen=True)
class GapRange:
    """Expected days in a row that stand alike.

    Attributes:
        days: How many expected days there are from the first to the last.
        since: Since when the first of them to stand so has.
        deadline: When the first of them is lost; None if none can be.
        attempts: How often the day was tried that was tried most.
        next_at: Not before then it is tried again; None if nothing says so.
    """

    source: str
    first: date
    last: date
    days: int
    state: str
    reason: str | None
    since: datetime
    deadline: datetime | None
    attempts: int
    remedy: str
    next_at: datetime | None

    @property
    def span(self) -> str:
        """The range as people write it."""
        return f"{self.first}" if self.first == self.last else f"{self.first}..{self.last}"


def gap_ranges(states: pl.DataFrame, *, everything: bool = False) -> list[GapRange]:
    """Put gaps together that stand alike: expected days in a row, of one state and one reason.

    Reasons are alike when only the moments in them differ.

    Args:
        states: How every expected day stands (`Assessment.states`).
        everything: Whether to tell also of days that are not due, or whose source is off.
    """
    told = [*GAPS, *NOT_ASKED] if everything else list(GAPS)
    plain = pl.col("reason").str.replace_all(_DEADLINE, "")
    alike = ["source", "state", "remedy", "kind"]
    found = (
        states.sort("source", "day")
        .with_columns(plain=plain, kind=plain.str.replace_all(_MOMENT, "…").fill_null(""))
        .with_columns(run=pl.struct(alike).rle_id())
        .filter(pl.col("state").is_in(told))
        .group_by("run", maintain_order=True)
        .agg(
            *(pl.col(name).first() for name in ("source", "state", "remedy")),
            first=pl.col("day").first(),
            last=pl.col("day").last(),
            days=pl.len(),
            # What is said of several days names none of their moments.
            reason=pl.when(pl.len() == 1)
            .then(pl.col("plain").first())
            .otherwise(pl.col("kind").first().replace("", None)),
            since=pl.col("since").min(),
            deadline=pl.col("deadline").min(),
            attempts=pl.col("attempts").max(),
            next_at=pl.col("next_at").min(),
        )
        .drop("run")
    )
    return [GapRange(**row) for row in found.iter_rows(named=True)]


def what_next(days: Mapping[str, Any], now: datetime, probe_at: datetime | None) -> str:
    """Say what happens next of itself with a day, or with days that stand alike.

    Args:
        days: Their `state`, `remedy` and `next_at`.
        now: The present moment.
        probe_at: If their source is down, when it may be asked again.
    """
    if days["remedy"] == "fetch":
        waits = [at for at in (days["next_at"], probe_at) if at is not None and at > now]
        if not waits:
            return "asked for as soon as a run is free"
        down = "; the source is down" if probe_at is not None else ""
        return f"asked for at {max(waits):%Y-%m-%d %H:%M} UTC{down}"
    if days["remedy"] == "replay":
        return "built again from landing"
    if days["remedy"] == "person":
        return "a person has to look"
    return _NOTHING.get(days["state"], "nothing")


_NOTHING = {
    "complete": "nothing; it is whole",
    "empty": "nothing; it is whole",
    "filling": "a run is at it",
    "lost": "nothing; it cannot be had any more",
    "collapsed": "nothing; a person may compare it with the source",
    "stale": "nothing; a person may compare it with the source",
    "not_due": "asked for when it is due",
    "disabled": "nothing; its source is off",
    "not_configured": "nothing; its source has no key",
}
