"""`aggregated.feeds_daily`: what each feed brought, day by day."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

from intel_assets.lakehouse.contracts import Contract, field
from intel_assets.sources.gold import GoldSpec
from intel_assets.sources.spec import SourceSpec
from intel_assets.threat.gold.feeds import OWNER, sql, telling
from intel_assets.threat.model import INDICATOR_TYPES


class FeedsDay(pa.DataFrameModel):
    """What a feed brought on a day, of one type of indicator."""

    day: pl.Date = field("Day of the records (UTC).")
    feed: pl.String = field("The feed.")
    indicator_type: pl.String = field(
        "What the indicators are.", source="indicator_type", isin=INDICATOR_TYPES
    )
    records: pl.Int64 = field("Records of the feed.", ge=1)
    indicators: pl.Int64 = field("Distinct indicators.", source="indicator", ge=1)
    shared: pl.Int64 = field(
        "Of these, those that another feed brings on that day too.", source="indicator", ge=0
    )


FEEDS_DAILY = Contract(
    "aggregated",
    "feeds_daily",
    FeedsDay,
    "What each feed brought by day and type of indicator, and what of it others bring.",
)


def tables(every: list[SourceSpec]) -> list[GoldSpec]:
    """Return the table, of these feeds."""
    return [
        GoldSpec(
            contract=FEEDS_DAILY,
            sql=sql("feeds_daily"),
            sources={spec.name: spec.cleaned for spec in telling(every)},
            domain="threat",
            owner=OWNER,
            code_version="2",
        )
    ]
