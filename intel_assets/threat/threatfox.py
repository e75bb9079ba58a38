"""ThreatFox (abuse.ch): indicators of malware. An event feed that reaches back seven days.

Formats: the API's `get_iocs` and the CSV export, whose fields stand behind a comma and a space.
https://threatfox.abuse.ch/api/
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from importlib.resources import files
from math import ceil

import pandera.polars as pa
import polars as pl

from intel_assets.clock import start_of
from intel_assets.errors import ParseError
from intel_assets.ingest import json_records
from intel_assets.ingest.documents import Document, Window
from intel_assets.ingest.messages import HttpPolicy, Request
from intel_assets.lakehouse.contracts import Contract, Instant, RawRecord, Texts, field
from intel_assets.sources.spec import Aggregate, Context, Interval, SourceSpec, Span
from intel_assets.threat import abusech, canonical
from intel_assets.threat.model import IndicatorRecord, describe

API = "https://threatfox-api.abuse.ch/api/v1/"
LOOK_BACK = 7
"""Days: the most that `get_iocs` gives."""

_ANSWERED = ("ok", "no_result")
_NAMES = {
    "first_seen_utc": "first_seen",
    "last_seen_utc": "last_seen",
    "ioc_id": "id",
    "ioc_value": "ioc",
    "fk_malware": "malware",
}
_COLUMNS = ("id", "ioc", "threat_type", "ioc_type", "malware", "confidence_level", "first_seen")


class RawIoc(RawRecord):
    """An indicator, as delivered; the CSV's columns go by the API's names."""

    id: pl.String = field("ThreatFox's number of it.")
    ioc: pl.String = field("The indicator.")
    ioc_type: pl.String = field("ip:port, domain, url, md5_hash, sha1_hash or sha256_hash.")
    threat_type: pl.String = field("What it does.")
    malware: pl.String | None = field("Malpedia's name of the malware.", nullable=True)
    malware_printable: pl.String | None = field("Its name for people.", nullable=True)
    malware_alias: pl.String | None = field("Its other names.", nullable=True)
    confidence_level: pl.String = field("0 to 100.")
    first_seen: pl.String = field("When it was first seen, UTC.")
    last_seen: pl.String | None = field("When it was last seen, UTC.", nullable=True)
    # Since about 2026: older dumps, and the API, lack it.
    is_compromised: pl.String | None = field("Whether the host is a victim.", nullable=True)
    reference: pl.String | None = field("Where more is told.", nullable=True)
    tags: pl.String | None = field("Tags: comma-joined or a JSON list.", nullable=True)
    reporter: pl.String | None = field("Who reported it.", cls="personal", nullable=True)
    anonymous: pl.String | None = field("Whether the reporter stays unnamed.", nullable=True)
    threat_type_desc: pl.String | None = field("What it does, in words.", nullable=True)
    ioc_type_desc: pl.String | None = field("What it is, in words.", nullable=True)
    malware_malpedia: pl.String | None = field("Malpedia's page.", nullable=True)


class IocRecord(IndicatorRecord):
    """An indicator, typed and canonical."""

    indicator: pl.String = field("The indicator in canonical form.", source="ioc")
    raw_value: pl.String = field("The indicator as delivered.", source="ioc")
    indicator_type: pl.String = field("What it is; a hash by its length.", source="ioc_type")
    first_seen: Instant = field("When ThreatFox first saw it.", source="first_seen")
    last_seen: Instant = field("When it last saw it.", source="last_seen", nullable=True)
    confidence: pl.Int32 = field(
        "ThreatFox's confidence.", source="confidence_level", nullable=True, ge=0, le=100
    )
    threat: pl.String = field("What it does.", source="threat_type", nullable=True)
    malware: pl.String = field("Malware.", source="malware_printable", nullable=True)
    tags: Texts = field("Tags.", source="tags", nullable=True)
    reference: pl.String = field("Where more is told.", source="reference", nullable=True)
    ioc_id: pl.Int64 = field("ThreatFox's number of it.", source="id", ge=1)
    ioc_type: pl.String = field("What ThreatFox calls it.", source="ioc_type")
    port: pl.Int32 = field("The port of an `ip:port`.", source="ioc", nullable=True)
    malpedia: pl.String = field("Malpedia's name.", source="malware", nullable=True)
    compromised: pl.Boolean = field(
        "Whether the host is a victim; null where the feed does not say.",
        source="is_compromised",
        nullable=True,
    )

    class Config:
        """A record stands in a body's day once."""

        unique = ["day", "record_id", "known_from"]


class ThreatfoxDay(pa.DataFrameModel):
    """A day of ThreatFox in numbers."""

    day: pl.Date = field("Day on which the indicators were first seen (UTC).")
    indicators: pl.Int64 = field("Distinct indicators.", ge=1)
    addresses: pl.Int64 = field("Of these, IP addresses.", ge=0)
    names: pl.Int64 = field("Of these, domains and host names.", ge=0)
    urls: pl.Int64 = field("Of these, URLs.", ge=0)
    hashes: pl.Int64 = field("Of these, file hashes.", ge=0)
    families: pl.Int64 = field("Distinct malware families.", ge=0)
    top_family: pl.String = field("The family with the most indicators.", nullable=True)
    confidence: pl.Float64 = field("ThreatFox's confidence, on average.", nullable=True)


def extract(context: Context, window: Window) -> Iterator[Document]:
    """Ask for as many days as reach back to the window's first, and no more than seven."""
    gap = context.now - start_of(window.first)
    days = min(LOOK_BACK, max(1, ceil(gap / timedelta(days=1))))
    yield context.get(
        Request(
            API,
            method="POST",
            headers={"Auth-Key": context.secret(abusech.KEY)},
            json={"query": "get_iocs", "days": days},
        ),
        window,
    )


def parse(document: Document) -> pl.LazyFrame:
    """Read the API's answer, its records a line each, or the CSV export."""
    if document.path is None:
        raise ValueError("a document without a body cannot be parsed")
    start = abusech.head(document.path)
    if not start.lstrip().startswith(("{", "[")):
        return abusech.read_csv(document.path, _NAMES, "first_seen_utc")
    records = json_records.listed(document.path, "data")
    status = records[0].get("query_status") if records and "ioc" not in records[0] else "ok"
    if status not in _ANSWERED:
        raise ParseError(f"line 1: ThreatFox answered {status!r}: {start[:120]}")
    return json_records.frame([one for one in records if "ioc" in one], _COLUMNS)


def covers(document: Document, span: Span) -> Interval | None:
    """An answer speaks of the days asked for, no more than seven; an export of what it holds."""
    fetch = document.fetch
    if fetch.outcome != "landed":
        reached = fetch.started_at - timedelta(days=LOOK_BACK)
        return max(start_of(fetch.window.first), reached), fetch.received_at
    if span.first is None or span.last is None or document.path is None:
        return None
    made: datetime | None = abusech.made(abusech.head(document.path))
    return abusech.reach(span.first, span.last, made)


def clean(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Type and canonicalise; a port is cut off at the last colon."""
    value, named = canonical.refang(pl.col("ioc")), pl.col("ioc_type").str.to_lowercase()
    place = canonical.address_and_port(pl.col("ioc")).struct
    digest = canonical.digest(pl.col("ioc"))
    is_hash = named.str.ends_with("_hash")
    address = place.field("address")
    return describe(
        raw,
        indicator=pl.when(named == "ip:port")
        .then(address)
        .when(named == "domain")
        .then(canonical.domain(value))
        .when(named == "url")
        .then(canonical.urls(pl.col("ioc")).struct.field("url"))
        .when(is_hash)
        .then(digest),
        indicator_type=pl.when(named == "ip:port")
        .then(canonical.address_type(address).fill_null("ipv4"))
        .when(is_hash)
        .then(canonical.digest_type(digest))
        .otherwise(named),
        raw_value=pl.col("ioc"),
        first_seen=abusech.moment("first_seen"),
        last_seen=abusech.moment("last_seen"),
        confidence=pl.col("confidence_level").cast(pl.Int32, strict=False),
        threat=abusech.text("threat_type"),
        malware=abusech.text("malware_printable"),
        tags=json_records.texts("tags"),
        reference=abusech.text("reference"),
        ioc_id=pl.col("id").cast(pl.Int64, strict=False),
        ioc_type=pl.col("ioc_type"),
        port=pl.when(named == "ip:port").then(place.field("port")),
        malpedia=abusech.text("malware"),
        compromised=pl.col("is_compromised")
        .str.to_lowercase()
        .replace_strict(
            {"true": True, "false": False, "1": True, "0": False},
            default=None,
            return_dtype=pl.Boolean,
        ),
    )


SPEC = SourceSpec(
    name="threatfox",
    domain="threat",
    title="ThreatFox",
    description="Indicators of malware that researchers share: servers, URLs, files.",
    homepage="https://threatfox.abuse.ch/",
    licence="CC0 1.0",
    redistributable=True,
    owner="team:threat-intelligence",
    kind="event",
    look_back_days=LOOK_BACK,
    start=date(2021, 3, 8),
    window_days=LOOK_BACK + 1,
    cadence="10,40 * * * *",
    secrets=(abusech.KEY,),
    keys_at=abusech.KEYS_AT,
    policy=HttpPolicy(rate_per_second=2.0),
    trust=70,
    extract=extract,
    parse=parse,
    clean=clean,
    record_id=pl.col("id"),
    event_time=abusech.moment("first_seen"),
    covers=covers,
    raw=Contract("raw", "threatfox", RawIoc, "ThreatFox's indicators as delivered."),
    cleaned=Contract("cleaned", "threatfox", IocRecord, "Indicators, typed and canonical."),
    aggregates=(
        Aggregate(
            Contract(
                "aggregated", "threatfox_daily", ThreatfoxDay, "ThreatFox in numbers, by day."
            ),
            files("intel_assets.threat").joinpath("sql/threatfox_daily.sql").read_text("utf-8"),
        ),
    ),
)
