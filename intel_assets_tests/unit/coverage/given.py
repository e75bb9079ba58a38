"""Sources, states and evidence for tests of coverage, made without a lake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from intel_assets.clock import start_of
from intel_assets.coverage.evidence import Evidence, newest
from intel_assets.coverage.states import STATES
from intel_assets.coverage.tables import ATTEMPTS, COVERAGE
from intel_assets.lakehouse.ops import CHECKS, FETCHES, PARTITIONS
from intel_assets.sources.spec import SourceSpec
from intel_assets.threat import tweetfeed

HOUR, DAYS = timedelta(hours=1), timedelta(days=1)
MINUTE = timedelta(minutes=1)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
TODAY = NOON.date()
PRESENT = pl.Schema({"source": pl.String, "layer": pl.String, "name": pl.String, "day": pl.Date})


def spec(name: str = "feed", **changes: Any) -> SourceSpec:
    """A source without an upstream: an event feed of single days that reaches back for ever."""
    given = {"start": TODAY - 400 * DAYS, "code_version": "1"} | changes
    return replace(tweetfeed.SPEC, name=name, **given)


def ago(days: int) -> date:
    """The day so many days before today."""
    return TODAY - timedelta(days=days)


def at(day: date, hours: float = 0.0) -> datetime:
    """A moment of a day."""
    return start_of(day) + timedelta(hours=hours)


def state(day: date, remedy: str = "fetch", **given: Any) -> dict[str, Any]:
    """A row of states; a day that can be asked for if nothing else is said."""
    row = {
        "source": "feed",
        "day": day,
        "state": {"none": "complete", "person": "failed"}.get(remedy, "missing"),
        "reason": None,
        "deadline": None,
        "remedy": remedy,
        "attempts": 0,
        "silent": 0,
        "rows": None,
        "next_at": None,
    }
    return row | given


def states(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """A frame of states, sorted as they are."""
    return pl.DataFrame(list(rows), schema=STATES, orient="row").sort("source", "day")


def fetch(number: int, day: date, received: datetime, **given: Any) -> dict[str, Any]:
    """A request for a day whose body speaks of it and was folded at once."""
    row = {
        "source": "feed",
        "fetch_id": f"fetch-{number}",
        "run_id": f"run-{number}",
        "window_first": day,
        "outcome": "fetched",
        "parsed": 1,
        "error_class": None,
        "error": None,
        "attempts": 1,
        "answers_from": None,
        "answers_to": None,
        "covers_from": at(day),
        "covers_to": at(day) + DAYS,
        "received_at": received,
        "folded_at": received,
        "recorded_at": received,
    }
    if given.get("outcome") in ("failed", "not_published"):
        row |= {"covers_from": None, "covers_to": None, "folded_at": None, "parsed": None}
        row |= {"error": "HTTP 503", "error_class": "UpstreamUnavailable"}
    return row | given


def fetches(*rows: Mapping[str, Any]) -> pl.DataFrame:
    """The journal of some requests."""
    columns = list(fetch(0, TODAY, NOON))
    return _frame(rows, pl.Schema({name: FETCHES.schema[name] for name in columns}))


def partition(day: date, layer: str = "raw", *, name: str = "feed", **given: Any) -> dict[str, Any]:
    """A partition that was recorded as complete when its day ended."""
    row = {
        "source": "feed",
        "layer": layer,
        "name": name,
        "day": day,
        "state": "complete",
        "rows": 10,
        "code_version": "1",
        "message": None,
        "recorded_at": at(day) + DAYS,
    }
    return row | given


def whole(day: date, *, name: str = "feed", **given: Any) -> list[dict[str, Any]]:
    """The partitions of a day of which all tables stand."""
    return [
        partition(day, layer, **{"source": name, "name": table} | given)
        for layer, table in (("raw", name), ("cleaned", name), ("aggregated", f"{name}_daily"))
    ]


def partitions(*rows: Mapping[str, Any]) -> pl.DataFrame:
    """What partitions came to."""
    columns = list(partition(TODAY))
    return _frame(rows, pl.Schema({name: PARTITIONS.schema[name] for name in columns}))


def files(rows: pl.DataFrame) -> pl.DataFrame:
    """The files of partitions, all there."""
    return rows.filter(pl.col("rows") > 0).select(list(PRESENT)).unique().cast(dict(PRESENT))


def attempt(first: date, planned: datetime, **given: Any) -> dict[str, Any]:
    """A run that was planned for a day."""
    row = {
        "source": "feed",
        "first": first,
        "last": first,
        "attempt": 1,
        "kind": "fetch",
        "run_key": f"{first}:{planned}",
        "requests": 1,
        "why": "it is missing",
        "planned_at": planned,
    }
    return row | given


def attempts(*rows: Mapping[str, Any]) -> pl.DataFrame:
    """What was tried."""
    return _frame(rows, ATTEMPTS.schema)


def evidence(**given: pl.DataFrame) -> Evidence:
    """What is known; nothing of what is not given. Files stand for all partitions."""
    known = {
        "fetches": fetches(),
        "partitions": partitions(),
        "attempts": attempts(),
        "checks": CHECKS.empty(),
        "history": newest(COVERAGE.empty()),
    } | given
    return Evidence(**{"present": files(known["partitions"])} | known)


def _frame(rows: Sequence[Mapping[str, Any]], schema: pl.Schema) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=schema, orient="row")
