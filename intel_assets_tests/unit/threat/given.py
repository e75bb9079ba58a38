"""Bodies taken through a source's functions without a lake: parsed, stamped, cleaned."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import polars as pl

from intel_assets.ingest.documents import Document, Window
from intel_assets.lakehouse.contracts import INSTANT
from intel_assets.lakehouse.knowledge import digests
from intel_assets.sources.cleaning import Cleaned, clean
from intel_assets.sources.spec import SourceSpec
from intel_assets_tests.unit.sources.fetches import NOON, fetch


def landed(path: Path, at: datetime = NOON) -> Document:
    """A file as if it was carried over at a moment."""
    window = Window(at.date(), at.date())
    return Document(fetch(1, outcome="landed", window=window, received_at=at), path)


def raw(spec: SourceSpec, path: Path, at: datetime = NOON) -> pl.DataFrame:
    """The records of a body as raw would hold them."""
    frame = spec.parse(landed(path, at)).collect()
    spec.raw.require(frame.columns)
    text = frame.select(pl.col(pl.String))
    digest = digests(text)
    identifier = spec.record_id if spec.record_id is not None else pl.lit(None, pl.String)
    day = pl.col("day") if "day" in frame.columns else spec.event_time.dt.date()
    return spec.raw.conform(
        frame.with_columns(digest, pl.lit("0" * 64).alias("body_sha256")).with_columns(
            day=day,
            record_id=identifier.cast(pl.String).fill_null(pl.col("record_digest")),
            known_from=pl.lit(at, INSTANT),
            known_to=pl.lit(None, INSTANT),
        )
    )


def cleaned(spec: SourceSpec, path: Path, at: datetime = NOON) -> Cleaned:
    """The records of a body, cleaned and divided by the contract."""
    return clean(spec, raw(spec, path, at), "run")
