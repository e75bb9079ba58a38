"""`aggregated.indicator_links`: what ties indicators, malware and reports to each other.

What one record says of itself belongs here, day by day. What feeds have in common does not.
"""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

from intel_assets.lakehouse.contracts import Contract, Instant, field
from intel_assets.sources.gold import GoldSpec
from intel_assets.sources.spec import SourceSpec
from intel_assets.threat.gold.feeds import OWNER, sql, telling
from intel_assets.threat.model import INDICATOR_TYPES

RELATIONS = {
    "hosted on": "a URL, on its host: a name or an address",
    "part of": "a name, of what somebody registered of it (Public Suffix List)",
    "subdomain of": "a name, of the next name above it, where that is not the registered one",
    "resolves to": "a name, to an address of the same record",
    "same file": "a file's digest, and another digest of the same file",
    "same record": "an indicator, and another of the same record that is tied in no other way",
    "malware": "an indicator, to a family of malware as the feed calls it",
    "pulse": "an indicator, to the OTX pulse that names it",
    "event": "an indicator, to the MISP event that names it",
    "technique": "an indicator, to an ATT&CK technique that its report names",
}
"""The relations, each read from `indicator` to `target`."""
TARGET_TYPES = (*INDICATOR_TYPES, "malware", "pulse", "event", "technique")


class Link(pa.DataFrameModel):
    """A tie that a feed told of on a day; one that several of its records tell of stands once."""

    day: pl.Date = field("Day of the records (UTC), or of the snapshot.")
    source: pl.String = field("The feed.")
    indicator: pl.String = field(
        "From where: an indicator, or the host of one.", source="indicator"
    )
    indicator_type: pl.String = field("What it is.", source="indicator_type", isin=INDICATOR_TYPES)
    relation: pl.String = field(
        "; ".join(f"`{name}`: {meaning}" for name, meaning in RELATIONS.items()) + ".",
        isin=[*RELATIONS],
    )
    target: pl.String = field(
        "To where: an indicator, a family, the identifier of a pulse or an event, or a technique's "
        "(T1059.001; aggregated.techniques has its name)."
    )
    target_type: pl.String = field("What that is.", isin=TARGET_TYPES)
    target_label: pl.String = field("The title of a pulse or an event.", nullable=True)
    first_seen: Instant = field("The earliest that the feed says of such records of the day.")


LINKS = Contract(
    "aggregated",
    "indicator_links",
    Link,
    "What ties indicators to each other, to malware, to techniques and to who reports them.",
)


def tables(every: list[SourceSpec]) -> list[GoldSpec]:
    """Return the table, of these feeds."""
    return [
        GoldSpec(
            contract=LINKS,
            sql=sql("indicator_links"),
            sources={spec.name: spec.cleaned for spec in telling(every)},
            domain="threat",
            owner=OWNER,
        )
    ]
