"""The gold tables of threat intelligence: what several feeds say together."""

from __future__ import annotations

from importlib.resources import files

import pandera.polars as pa
import polars as pl

from intel_assets.lakehouse.contracts import Contract, field
from intel_assets.sources import registry
from intel_assets.sources.gold import GoldSpec
from intel_assets.threat.model import INDICATOR_TYPES

FEEDS = ("ipsum", "malicious_ip", "threatfox_ips", "tweetfeed", "urlhaus")


class FeedsDay(pa.DataFrameModel):
    """What a feed brought on a day, of one type of indicator."""

    day: pl.Date = field("Day of the records (UTC).")
    feed: pl.String = field("The feed.", isin=FEEDS)
    indicator_type: pl.String = field(
        "What the indicators are.", source="indicator_type", isin=INDICATOR_TYPES
    )
    records: pl.Int64 = field("Records of the feed.", ge=1)
    indicators: pl.Int64 = field("Distinct indicators.", source="indicator", ge=1)
    shared: pl.Int64 = field(
        "Of these, those that another feed brings on that day too.", source="indicator", ge=0
    )


def gold() -> list[GoldSpec]:
    """Return the gold tables."""
    return [
        GoldSpec(
            contract=Contract(
                "aggregated",
                "feeds_daily",
                FeedsDay,
                "What each feed brought by day and type of indicator, and what of it others bring.",
            ),
            sql=files("intel_assets.threat").joinpath("sql/feeds_daily.sql").read_text("utf-8"),
            sources={spec.name: spec.cleaned for spec in registry.load(FEEDS)},
            domain="threat",
            owner="team:threat-intelligence",
        )
    ]
