"""`aggregated.sightings`: which feed told of which indicator on which day."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

from intel_assets.lakehouse.contracts import Contract, Instant, Texts, field
from intel_assets.sources.gold import GoldSpec
from intel_assets.sources.spec import SourceSpec
from intel_assets.threat.gold.feeds import OWNER, sql, telling
from intel_assets.threat.model import INDICATOR_TYPES, TLP

HISTORY_DAYS = 90
"""How far back a snapshot looks: to the one before it, and for what comes back. So says the SQL."""


class Sighting(pa.DataFrameModel):
    """An indicator that a feed told of on a day."""

    day: pl.Date = field("Day (UTC): of the records, or of the snapshot.")
    source: pl.String = field("The feed.")
    indicator: pl.String = field("The indicator in canonical form.", source="indicator")
    indicator_type: pl.String = field("What it is.", source="indicator_type", isin=INDICATOR_TYPES)
    change: pl.String = field(
        "`seen` by an event feed; in a snapshot `added`, `still` there, `back` after an absence of "
        f"up to {HISTORY_DAYS} days, or `gone` from it.",
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
    tags: Texts = field("The feed's tags, each once, in order.", nullable=True)
    tlp: pl.String = field(
        "The narrowest sharing scope; amber where the feed does not say.", isin=TLP
    )


SIGHTINGS = Contract(
    "aggregated",
    "sightings",
    Sighting,
    "Which feed told of which indicator on which day, and what changed in snapshots.",
)


def tables(every: list[SourceSpec]) -> list[GoldSpec]:
    """Return the table, of these feeds."""
    sources = telling(every)
    return [
        GoldSpec(
            contract=SIGHTINGS,
            sql=sql("sightings"),
            sources={spec.name: spec.cleaned for spec in sources},
            history={spec.name: HISTORY_DAYS for spec in sources if spec.kind == "state"},
            domain="threat",
            owner=OWNER,
            code_version="2",
        )
    ]
