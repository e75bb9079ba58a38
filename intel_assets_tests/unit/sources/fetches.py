"""Fetches and journals for tests, made without a network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from intel_assets.ingest.documents import Document, Fetch, Window
from intel_assets.lakehouse.ops import FETCHES
from intel_assets.sources.journal import row_of

NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)
DAY = NOON.date()


def fetch(number: int = 1, **given: Any) -> Fetch:
    """The n-th fetch: received n hours after noon, with a body of its own."""
    at = NOON + timedelta(hours=number)
    fields: dict[str, Any] = {
        "fetch_id": f"{at:%Y%m%dT%H}-{number}",
        "source": "urlhaus",
        "window": Window(DAY, DAY),
        "url": "https://example.test/dump",
        "outcome": "fetched",
        "status": 200,
        "attempts": 1,
        "bytes": 1,
        "body_sha256": hashlib.sha256(str(number).encode()).hexdigest(),
        "etag": f'"{number}"',
        "last_modified": None,
        "content_type": None,
        "started_at": at,
        "received_at": at,
        "seconds": 0.0,
    }
    return Fetch(**fields | given)


def document(path: Path, data: bytes, day: date = DAY, number: int = 1) -> Document:
    """A body that was received for a day."""
    path.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    return Document(fetch(number, body_sha256=digest, window=Window(day, day)), path)


def row(
    one: Fetch,
    *,
    first: datetime | None = NOON - timedelta(days=1),
    last: datetime = NOON + timedelta(days=1),
    **given: Any,
) -> dict[str, Any]:
    """A fetch as the journal holds it: it waits, and speaks of the days around noon."""
    speaks = {"covers_from": first, "covers_to": last if first else None, "parsed": 1}
    return row_of(one, "run", one.received_at) | speaks | given


def folded(one: Mapping[str, Any]) -> dict[str, Any]:
    """The same row after its body was folded."""
    return {**one, "folded_at": one["received_at"], "added": 1}


def journal(*rows: Mapping[str, Any]) -> pl.DataFrame:
    """A journal, in the order received."""
    frame = pl.DataFrame(list(rows), schema_overrides=dict(FETCHES.schema), infer_schema_length=99)
    return FETCHES.conform(frame).sort("received_at", "body_sha256", "fetch_id")
