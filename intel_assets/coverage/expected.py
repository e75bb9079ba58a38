"""What is expected: the days of every source, when each is due, and until when it can be had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

import polars as pl
from cronsim import CronSim

from intel_assets.clock import start_of
from intel_assets.lakehouse.contracts import INSTANT
from intel_assets.sources.spec import SourceSpec

EXPECTED = pl.Schema(
    {
        "source": pl.String(),
        "day": pl.Date(),
        "kind": pl.String(),
        "begins": INSTANT,
        "ends": INSTANT,
        "due": INSTANT,
        "deadline": INSTANT,
        "slots": pl.Int64(),
        "layers": pl.Int64(),
        "limit": pl.Int64(),
        "code_version": pl.String(),
    }
)


def begins(spec: SourceSpec, first_asked: date | None, today: date, since: date | None) -> date:
    """Return the first day that is expected of a source.

    A source that can be asked for any day is expected from its start. One that looks back only so
    far is expected from where its reach began when it was first asked: what was out of reach
    already was never this lake's to lose.

    Args:
        spec: The source.
        first_asked: When this lake first asked it; None if never.
        today: The present day.
        since: No day before this is expected of any source; None for no such bound.
    """
    reach = spec.start
    if spec.look_back_days is not None:
        # Of an event feed that remembers no whole day, tomorrow is the first that can be whole.
        back = spec.look_back_days - 1 if spec.kind == "event" else 0
        reach = (first_asked or today) - timedelta(days=back)
    return max(spec.start, reach, since or spec.start)


def expected(
    specs: Sequence[SourceSpec],
    now: datetime,
    first_asked: Mapping[str, date],
    since: date | None = None,
) -> pl.DataFrame:
    """Return the expected days of all sources up to today, in the columns of `EXPECTED`."""
    frames = [pl.DataFrame(schema=EXPECTED)]
    for spec in specs:
        if spec.kind == "lookup":
            continue  # It is asked of indicators, on demand.
        first = begins(spec, first_asked.get(spec.name), now.date(), since)
        days = spec.calendar.days(first, now.date()).to_frame("day")
        start = pl.col("day").cast(INSTANT)
        ends = start + timedelta(days=1)
        if spec.kind == "state":
            deadline = ends
        elif spec.look_back_days is None:
            deadline = pl.lit(None, INSTANT)
        else:
            # An answer reaches back to its own hour of the first day: later, part of it is gone.
            deadline = start + timedelta(days=max(1, spec.look_back_days))
        frames.append(
            days.select(
                source=pl.lit(spec.name),
                day="day",
                kind=pl.lit(spec.kind),
                begins=start,
                ends=ends,
                due=start + _due(spec),
                deadline=deadline,
                slots=pl.lit(spec.calendar.slots, pl.Int64),
                layers=pl.lit(2 + len(spec.aggregates), pl.Int64),
                limit=pl.lit(spec.attempts, pl.Int64),
                code_version=pl.lit(spec.code_version),
            )
        )
    return pl.concat(frames)


def _due(spec: SourceSpec) -> timedelta:
    """Return how long after its beginning a day is to be there.

    An event feed's is whole some time after its end. A state feed's snapshot can be taken while
    the day lasts and no longer: it is missing when the first request of the day brought none.
    """
    if spec.kind == "event" or spec.calendar.slots > 1:
        return timedelta(days=1) + spec.due_after
    midnight = start_of(spec.start)
    tick = next(CronSim(spec.cadence, midnight - timedelta(seconds=1)))
    first = tick - tick.replace(hour=0, minute=0)
    return first + min(spec.due_after, (timedelta(days=1) - first) / 2)
