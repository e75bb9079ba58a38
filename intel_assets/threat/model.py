"""The common model of threat feeds: what every cleaned record says of an indicator.

A feed's own columns come behind these. Nothing of a single feed belongs here.
"""

from __future__ import annotations

import polars as pl

from intel_assets.lakehouse.contracts import Instant, Record, Texts, field

INDICATOR_TYPES = (
    "ipv4",
    "ipv6",
    "cidr",
    "domain",
    "hostname",
    "url",
    "email",
    "md5",
    "sha1",
    "sha256",
    "cve",
)
TLP = ("clear", "green", "amber", "amber+strict", "red")


class IndicatorRecord(Record):
    """A record of a threat feed, about one indicator."""

    indicator: pl.String = field("The indicator in canonical form.", source="url")
    indicator_type: pl.String = field("What it is.", isin=INDICATOR_TYPES)
    raw_value: pl.String = field("The indicator as delivered.", source="url")
    first_seen: Instant = field("When the feed first saw it.")
    last_seen: Instant = field("When the feed last saw it active.", nullable=True)
    confidence: pl.Int32 = field(
        "The feed's own confidence, 0 to 100.", nullable=True, ge=0, le=100
    )
    threat: pl.String = field("What it does, in the feed's words.", nullable=True)
    malware: pl.String = field("Malware family.", nullable=True)
    tags: Texts = field("The feed's tags.", nullable=True)
    tlp: pl.String = field("Sharing scope (TLP 2.0).", nullable=True, isin=TLP)
    reference: pl.String = field("Where the feed tells more.", nullable=True)
