"""The common model of threat feeds: what every cleaned record says of an indicator.

A feed's own columns come behind these. Nothing of a single feed belongs here. `describe` fills
the columns that a feed says nothing of, so that a feed's `clean` names only what it knows.
"""

from __future__ import annotations

import polars as pl

from intel_assets.lakehouse.contracts import INSTANT, Instant, Record, Texts, field
from intel_assets.threat import canonical

INDICATOR_TYPES = (
    "ipv4",
    "ipv6",
    "cidr",
    "domain",
    "hostname",
    "url",
    "uri",
    "email",
    "md5",
    "sha1",
    "sha256",
    "sha384",
    "sha512",
    "imphash",
    "pehash",
    "ja3",
    "cve",
    "filename",
    "filepath",
    "mutex",
    "yara",
)
TLP = ("clear", "green", "amber", "amber+strict", "red")
"""Sharing scopes (TLP 2.0), the widest first: who may be told, and nothing of how sure it is."""


class IndicatorRecord(Record):
    """A record of a threat feed, about one indicator."""

    indicator: pl.String = field("The indicator in canonical form.", source="url")
    indicator_type: pl.String = field(
        "What it is; a name is a `domain` if it can be registered, else a `hostname`.",
        isin=INDICATOR_TYPES,
    )
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
    host: pl.String = field("The host of a URL, or the name or address itself.", nullable=True)
    registered_domain: pl.String = field(
        "The part of its name that somebody registered (Public Suffix List).", nullable=True
    )
    also: Texts = field(
        "Other indicators of the same record, each `type:value`: a file's other hashes, the "
        "address behind a name.",
        nullable=True,
    )
    detect: pl.Boolean = field("Whether the feed means it for detection, or as context alone.")
    reserved: pl.Boolean = field("Whether it is an address that the internet does not route.")


_NOTHING = {
    "last_seen": pl.lit(None, INSTANT),
    "confidence": pl.lit(None, pl.Int32),
    "threat": pl.lit(None, pl.String),
    "malware": pl.lit(None, pl.String),
    "tags": pl.lit(None, pl.List(pl.String)),
    "tlp": pl.lit("clear"),
    "reference": pl.lit(None, pl.String),
    "also": pl.lit(None, pl.List(pl.String)),
    "detect": pl.lit(True),
}
_NAMES = ("domain", "hostname")
_ADDRESSES = ("ipv4", "ipv6", "cidr")


def describe(
    raw: pl.LazyFrame,
    *,
    indicator: pl.Expr,
    indicator_type: pl.Expr,
    raw_value: pl.Expr,
    first_seen: pl.Expr,
    **columns: pl.Expr,
) -> pl.LazyFrame:
    """Add the columns of the common model to raw records.

    Types of names, `host`, `registered_domain` and `reserved` follow from the indicator.

    Args:
        raw: Raw records.
        indicator: The indicator in canonical form, null if it cannot be brought into one.
        indicator_type: What it is.
        raw_value: As delivered.
        first_seen: When the feed first saw it.
        **columns: What else the feed says: columns of the common model and its own. Columns of
            the model that are left out are null; `tlp` is `clear` and `detect` is true. A
            `host` is taken as it is given: the canonical one of a URL, where it is at hand.
    """
    kind, known = pl.col("indicator_type"), pl.col("indicator")
    named = kind.is_in(_NAMES)
    made = raw.with_columns(
        indicator=indicator,
        indicator_type=indicator_type,
        raw_value=raw_value,
        first_seen=first_seen,
        **_NOTHING | columns,
    )
    own = pl.when(named | kind.is_in(["ipv4", "ipv6"])).then(known)
    if "host" not in columns:
        of_url = canonical.urls(pl.when(kind == "url").then(known)).struct.field("host")
        made = made.with_columns(host=pl.coalesce(own, of_url))
    made = made.with_columns(registered_domain=canonical.registered_domain(pl.col("host")))
    registered = known == pl.col("registered_domain")
    return made.with_columns(
        indicator_type=pl.when(named)
        .then(pl.when(registered).then(pl.lit("domain")).otherwise(pl.lit("hostname")))
        .otherwise(kind),
        reserved=canonical.reserved(pl.when(kind.is_in(_ADDRESSES)).then(known)),
    )
