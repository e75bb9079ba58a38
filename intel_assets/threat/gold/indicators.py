"""`aggregated.indicator_parts`: what is known of each indicator, but for what hangs on the present.

Belongs here: the columns, and of what the table is made. How it is kept up is in parts.py.
`aggregated.indicator_facts` reads it, with the lists of one's own, and `aggregated.indicators` adds
what hangs on the present.
"""

from __future__ import annotations

from typing import Annotated

import pandera.polars as pa
import polars as pl

from intel_assets.lakehouse.contracts import Contract, Instant, Texts, field
from intel_assets.sources import registry
from intel_assets.sources.gold import GoldSpec
from intel_assets.sources.spec import SourceSpec
from intel_assets.threat.gold import parts
from intel_assets.threat.gold.feeds import OWNER, sql
from intel_assets.threat.model import INDICATOR_TYPES, TLP

Listings = Annotated[
    pl.List,
    pl.Struct(
        {
            "source": pl.String,
            "first_day": pl.Date,
            "last_day": pl.Date,
            "days": pl.Int64,
            "gone_on": pl.Date,
            "confidence": pl.Float64,
        }
    ),
]
Warnings = Annotated[
    pl.List,
    pl.Struct({"list": pl.String, "title": pl.String, "match": pl.String, "value": pl.String}),
]


class IndicatorPart(pa.DataFrameModel):
    """The facts of an indicator over all feeds; without a listing, no feed tells of it any more."""

    part: pl.String = field(
        "`base`, or `recent`: made newer than its row in the base.", isin=parts.PARTS
    )
    bucket: pl.String = field(
        "The first hexadecimal of the SHA-256 of `place`; `ranges` for ranges.",
        isin=list(parts.BUCKETS),
    )
    written: pl.Int64 = field(
        "Which write the row came with; of an indicator's rows the newest counts.", ge=0
    )
    place: pl.String = field("Where it is looked for: the host of a URL, else itself.")
    indicator: pl.String = field("The indicator in canonical form.", source="indicator")
    indicator_type: pl.String = field("What it is.", source="indicator_type", isin=INDICATOR_TYPES)
    address: pl.String = field(
        "An address, also of a URL, or the first one of a range, as 32 hexadecimals.", nullable=True
    )
    host: pl.String = field("The host of a URL, or the name or address itself.", nullable=True)
    registered_domain: pl.String = field("What somebody registered of it.", nullable=True)
    first_seen: Instant = field("The earliest that a feed says.", nullable=True)
    last_seen: Instant = field(
        "The last sighting: as the feed says, or the end of the snapshot's day.", nullable=True
    )
    first_reporter: pl.String = field("The feed that told of it first.", nullable=True)
    listings: Listings = field(
        "For each feed: on which day it first and last told of it, on how many days, on which it "
        "dropped it, and how sure that makes (0 to 100)."
    )
    evidence: pl.Float64 = field(
        "How sure the feeds make together, 0 to 100: noisy-OR over independent ones.",
        nullable=True,
        ge=0,
        le=100,
    )
    withdrawn: pl.Boolean = field(
        "Whether all that told of it are lists, and dropped it.", nullable=True
    )
    detect: pl.Boolean = field("Whether a feed means it for detection.", nullable=True)
    reserved: pl.Boolean = field(
        "Whether it is an address that the internet does not route.", nullable=True
    )
    tlp: pl.String = field("The narrowest sharing scope.", isin=TLP, nullable=True)
    redistributable: pl.Boolean = field(
        "Whether a feed tells of it whose terms let it be passed on.", nullable=True
    )
    threats: Texts = field("What it does, in the feeds' words.", nullable=True)
    malware: Texts = field("Malware families.", nullable=True)
    tags: Texts = field("The feeds' tags.", nullable=True)
    warnings: Warnings = field("The entries of warninglists that it meets.", nullable=True)


INDICATOR_PARTS = Contract(
    "aggregated",
    "indicator_parts",
    IndicatorPart,
    "What aggregated.indicators is made of, but for what hangs on the present.",
    partition_by=("part", "bucket"),
)


def tables(every: list[SourceSpec]) -> list[GoldSpec]:
    """Return the table."""
    (warninglists,) = registry.load(["warninglists"])
    return [
        GoldSpec(
            contract=INDICATOR_PARTS,
            sql=sql("indicator_parts"),
            grain="whole",
            sources={warninglists.name: warninglists.cleaned},
            reads=("sightings",),
            maker=parts.make,
            domain="threat",
            owner=OWNER,
        )
    ]
