"""The gold tables of threat intelligence: what several feeds say together."""

from __future__ import annotations

from importlib.resources import files

import pandera.polars as pa
import polars as pl

from intel_assets.lakehouse.contracts import Contract, Instant, Texts, field
from intel_assets.sources import registry
from intel_assets.sources.gold import GoldSpec
from intel_assets.sources.spec import SourceSpec
from intel_assets.threat.model import INDICATOR_TYPES, TLP, IndicatorRecord

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


class Sighting(pa.DataFrameModel):
    """An indicator that a feed told of on a day."""

    day: pl.Date = field("Day (UTC): of the records, or of the snapshot.")
    source: pl.String = field("The feed.")
    indicator: pl.String = field("The indicator in canonical form.", source="indicator")
    indicator_type: pl.String = field("What it is.", source="indicator_type", isin=INDICATOR_TYPES)
    change: pl.String = field(
        "`seen` by an event feed; in a snapshot `added`, `still` there, `back` after an absence of "
        "up to 7 days, or `gone` from it.",
        isin=["seen", "added", "still", "back", "gone"],
    )
    records: pl.Int64 = field("Records of the feed; 0 when it is gone.", ge=0)
    first_seen: Instant = field("The earliest that the feed says.", nullable=True)
    last_seen: Instant = field("The latest that the feed says.", nullable=True)
    confidence: pl.Int32 = field(
        "The feed's own confidence, its highest.", nullable=True, ge=0, le=100
    )
    detect: pl.Boolean = field("Whether the feed means it for detection.")
    reserved: pl.Boolean = field("Whether it is an address that the internet does not route.")
    host: pl.String = field("The host of a URL, or the name or address itself.", nullable=True)
    registered_domain: pl.String = field("What somebody registered of it.", nullable=True)
    threat: pl.String = field("What it does, in the feed's words.", nullable=True)
    malware: pl.String = field("Malware family.", nullable=True)
    tags: Texts = field("The feed's tags.", nullable=True)
    tlp: pl.String = field(
        "The narrowest sharing scope; amber where the feed does not say.", isin=TLP
    )


HISTORY_DAYS = 7
"""How far back a snapshot's predecessor may lie; sql/sightings.sql says the same."""


def feeds() -> list[SourceSpec]:
    """Return the feeds whose cleaned records are indicators."""
    return [
        spec
        for spec in registry.load()
        if spec.domain == "threat" and issubclass(spec.cleaned.model, IndicatorRecord)
    ]


def gold() -> list[GoldSpec]:
    """Return the gold tables that are stored by day."""
    every = feeds()
    return [
        GoldSpec(
            contract=Contract(
                "aggregated",
                "feeds_daily",
                FeedsDay,
                "What each feed brought by day and type of indicator, and what of it others bring.",
            ),
            sql=_sql("feeds_daily"),
            sources={spec.name: spec.cleaned for spec in registry.load(FEEDS)},
            domain="threat",
            owner="team:threat-intelligence",
        ),
        GoldSpec(
            contract=Contract(
                "aggregated",
                "sightings",
                Sighting,
                "Which feed told of which indicator on which day, and what changed in snapshots.",
            ),
            sql=_sql("sightings"),
            sources={spec.name: spec.cleaned for spec in every if spec.kind != "lookup"},
            domain="threat",
            owner="team:threat-intelligence",
            history={spec.name: HISTORY_DAYS for spec in every if spec.kind == "state"},
        ),
    ]


def _sql(name: str) -> str:
    return files("intel_assets.threat").joinpath(f"sql/{name}.sql").read_text("utf-8")
