"""A table of what leaves, as CSV with every column."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from intel_assets.threat.export.selection import Selection


def pieces(selection: Selection) -> Iterator[str]:
    """Yield the CSV; lists are joined by `|`."""
    flat = selection.indicators.with_columns(
        pl.col(pl.List(pl.String)).list.join("|"),
        pl.col("source_confidences").cast(pl.List(pl.String)).list.join("|"),
    )
    yield flat.write_csv(datetime_format="%Y-%m-%dT%H:%M:%S%.3fZ")
