"""How days stand, made up for tests: frames as an assessment gives them, and a source."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import polars as pl

from intel_assets.coverage.assess import Assessment
from intel_assets.coverage.evidence import Evidence
from intel_assets.coverage.states import STATES
from intel_assets.lakehouse.contracts import INSTANT
from intel_assets.sources import registry
from intel_assets.sources.spec import SourceSpec

NOW = datetime(2026, 6, 10, 12, tzinfo=UTC)
SINCE = datetime(2026, 6, 8, 3, tzinfo=UTC)


def day(text: str) -> date:
    """Return a day of June 2026, or a whole date."""
    return date.fromisoformat(text if len(text) > 2 else f"2026-06-{text}")


def row(on: str, state: str = "missing", **given: Any) -> dict[str, Any]:
    """An expected day: `row("03", "lost", reason="…")`."""
    remedy = {"missing": "fetch", "rejected": "fetch", "failed": "person"}.get(state, "none")
    return {
        "source": "tweetfeed",
        "day": day(on),
        "state": state,
        "reason": None,
        "deadline": None,
        "remedy": remedy,
        "attempts": 0,
        "rows": 1 if state in ("complete", "collapsed", "stale") else None,
        "next_at": None,
        "since": SINCE,
    } | given


def states(*rows: dict[str, Any]) -> pl.DataFrame:
    """Put days together as an assessment has them."""
    return pl.DataFrame(list(rows), schema=pl.Schema({**STATES, "since": INSTANT}))


def assessment(*rows: dict[str, Any], now: datetime = NOW) -> Assessment:
    """How things stand, without any evidence."""
    nothing = pl.DataFrame()
    evidence = Evidence(nothing, nothing, nothing, nothing, nothing, nothing)
    return Assessment(now, states(*rows), nothing, evidence)


def source(**given: Any) -> SourceSpec:
    """TweetFeed, but for what is given: an event feed whose days can be asked for for ever."""
    return replace(registry.load(["tweetfeed"])[0], **given)
