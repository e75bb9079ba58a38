"""Snapshots: what a state feed's bodies are the whole truth of.

Such a body says what holds now. It is the snapshot of the UTC day on which it was received, and of
that day alone: what it no longer lists is withdrawn from that day, and the next day's snapshot is
a new one. A day that was not asked for while it lasted is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from intel_assets.clock import start_of
from intel_assets.errors import IntelError, NoLongerAvailable, UpstreamError
from intel_assets.ingest.documents import Document, Fetch
from intel_assets.sources.spec import Interval, SourceSpec, Span


def day_of(fetch: Fetch) -> date:
    """Return the day whose snapshot a body is: of its receipt, or the one it was landed for."""
    return fetch.window.first if fetch.outcome == "landed" else fetch.received_at.date()


def interval_of(fetch: Fetch) -> Interval:
    """Return the time that a snapshot speaks of: its day."""
    day = day_of(fetch)
    return start_of(day), start_of(day + timedelta(days=1))


def whole_day(document: Document, span: Span) -> Interval:
    """The body is the whole truth of its day (for `SourceSpec.covers`)."""
    return interval_of(document.fetch)


def askable(
    spec: SourceSpec, days: Sequence[date], now: datetime
) -> tuple[list[date], dict[date, IntelError]]:
    """Divide days into those that the source can be asked for now, and the others with the reason.

    An event feed can be asked for any: what it does not reach, its answer does not cover.
    """
    today = now.date()
    if spec.kind == "event":
        return list(days), {}
    if spec.kind == "lookup":
        what = f"{spec.name} is asked of given indicators, and not of days."
        return [], {day: UpstreamError(what, "Use `intel enrich`.") for day in days}
    refused: dict[date, IntelError] = {day: _lost(spec, day, today) for day in days if day != today}
    return [day for day in days if day == today], refused


def _lost(spec: SourceSpec, day: date, today: date) -> NoLongerAvailable:
    what = f"{spec.name} {day}: a state feed: "
    if day > today:
        return NoLongerAvailable(f"{what}it can only be asked today ({today}).")
    return NoLongerAvailable(
        f"{what}what it held that day is lost, it can only be asked today ({today}).",
        "If somebody kept the body, `intel land` takes it.",
    )
