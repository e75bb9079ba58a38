"""VirusTotal, API v3: what scanners say of a file, name, address or URL. A lookup.

The public API: 4 requests a minute, 500 a day, and not for commercial use. What it has never seen
answers 404. https://docs.virustotal.com/reference/overview
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import polars as pl

from intel_assets.errors import ParseError
from intel_assets.ingest import json_records
from intel_assets.ingest.documents import Document
from intel_assets.ingest.messages import HttpPolicy, Request
from intel_assets.lakehouse.contracts import INSTANT, Contract, Instant, RawRecord, field
from intel_assets.sources.snapshots import day_of
from intel_assets.sources.spec import Context, Quota, SourceSpec, on_demand
from intel_assets.threat import canonical
from intel_assets.threat.model import IndicatorRecord, describe

KEY = "VIRUSTOTAL_API_KEY"
URL = "https://www.virustotal.com/api/v3"

_PLACES = {
    "md5": "files",
    "sha1": "files",
    "sha256": "files",
    "ipv4": "ip_addresses",
    "ipv6": "ip_addresses",
    "domain": "domains",
    "hostname": "domains",
    "url": "urls",
}
_ENGINES = ("malicious", "suspicious", "harmless", "undetected")
_COLUMNS = (
    "type",
    "id",
    "url",
    "md5",
    "sha1",
    "reputation",
    "label",
    "tags",
    "first_submission_date",
    "last_analysis_date",
    *_ENGINES,
)


class RawReport(RawRecord):
    """What was answered of an object: the attributes that are kept."""

    type: pl.String = field("What it is: file, url, domain or ip_address.")
    id: pl.String = field("Its name at VirusTotal: SHA-256 of a file or URL, else itself.")
    url: pl.String | None = field("A URL itself.", nullable=True)
    md5: pl.String | None = field("MD5 of a file.", nullable=True)
    sha1: pl.String | None = field("SHA-1 of a file.", nullable=True)
    reputation: pl.String | None = field("The votes of users.", nullable=True)
    label: pl.String | None = field("What most engines call it.", nullable=True)
    tags: pl.String | None = field("Tags, as JSON.", nullable=True)
    first_submission_date: pl.String | None = field("First seen, Unix time.", nullable=True)
    last_analysis_date: pl.String | None = field("Last analysed, Unix time.", nullable=True)
    malicious: pl.String | None = field("Engines that call it malicious.", nullable=True)
    suspicious: pl.String | None = field("Engines that suspect it.", nullable=True)
    harmless: pl.String | None = field("Engines that call it harmless.", nullable=True)
    undetected: pl.String | None = field("Engines that found nothing.", nullable=True)


class ReportRecord(IndicatorRecord):
    """What VirusTotal answered of an object, typed."""

    indicator: pl.String = field("The object in canonical form.", source="id")
    raw_value: pl.String = field("The object as delivered.", source="id")
    first_seen: Instant = field(
        "When it was first given to VirusTotal; the day it was asked where that is not said.",
        source="first_submission_date",
    )
    last_seen: Instant = field("Last analysed.", source="last_analysis_date", nullable=True)
    confidence: pl.Int32 = field(
        "Of the engines that say anything, the share that call it malicious, in percent.",
        nullable=True,
        ge=0,
        le=100,
    )
    malware: pl.String = field("What most engines call it.", source="label", nullable=True)
    malicious: pl.Int64 = field("Engines that call it malicious.", ge=0, nullable=True)
    suspicious: pl.Int64 = field("Engines that suspect it.", ge=0, nullable=True)
    harmless: pl.Int64 = field("Engines that call it harmless.", ge=0, nullable=True)
    undetected: pl.Int64 = field("Engines that found nothing.", ge=0, nullable=True)
    reputation: pl.Int64 = field("The votes of users.", source="reputation", nullable=True)


def lookup(context: Context, indicator: str, kind: str) -> Request:
    """Ask of a file by its hash, a name, an address, or a URL by its Base64 without padding."""
    name = indicator
    if kind == "url":
        name = base64.urlsafe_b64encode(indicator.encode()).decode().rstrip("=")
    return Request(f"{URL}/{_PLACES[kind]}/{name}", headers={"x-apikey": context.secret(KEY)})


def parse(document: Document) -> pl.LazyFrame:
    """Read an answer.

    Raises:
        ParseError: If there is no object in it.
    """
    if document.path is None:
        raise ValueError("a document without a body cannot be parsed")
    records = [_flat(one) for one in json_records.listed(document.path, "data") if "id" in one]
    if not records:
        raise ParseError("line 1: there is no object in it")
    day = pl.lit(day_of(document.fetch))
    return json_records.frame(records, _COLUMNS).with_columns(day=day)


def _flat(told: Mapping[str, Any]) -> dict[str, Any]:
    given = told.get("attributes")
    attributes: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    stats = attributes.get("last_analysis_stats")
    engines: Mapping[str, Any] = stats if isinstance(stats, Mapping) else {}
    threat = attributes.get("popular_threat_classification")
    label = threat.get("suggested_threat_label") if isinstance(threat, Mapping) else None
    return (
        {name: attributes.get(name) for name in _COLUMNS}
        | {name: engines.get(name) for name in _ENGINES}
        | {"type": told.get("type"), "id": told["id"], "label": label}
    )


def clean(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Type and canonicalise."""
    kind, name = pl.col("type"), pl.col("id")
    address = canonical.address(name)
    url = canonical.urls(pl.when(kind == "url").then(pl.col("url")))
    made = raw.with_columns(
        **{engine: pl.col(engine).cast(pl.Int64, strict=False) for engine in _ENGINES}
    )
    said = pl.sum_horizontal(_ENGINES)
    also = pl.concat_list(
        pl.format("{}:{}", pl.lit(digest), pl.col(digest)) for digest in ("md5", "sha1")
    ).list.drop_nulls()
    return describe(
        made,
        indicator=pl.when(kind == "ip_address")
        .then(address)
        .when(kind == "domain")
        .then(canonical.domain(name))
        .when(kind == "url")
        .then(url.struct.field("url"))
        .when(kind == "file")
        .then(canonical.digest(name)),
        indicator_type=pl.when(kind == "ip_address")
        .then(canonical.address_type(address))
        .otherwise(
            kind.replace_strict(
                {"domain": "hostname", "url": "url", "file": "sha256"},
                default=None,
                return_dtype=pl.String,
            )
        ),
        raw_value=pl.coalesce("url", "id"),
        first_seen=pl.coalesce(_unix("first_submission_date"), pl.col("day").cast(INSTANT)),
        last_seen=_unix("last_analysis_date"),
        confidence=pl.when(said > 0)
        .then((100 * pl.col("malicious") / said).round())
        .cast(pl.Int32),
        threat=pl.when(pl.col("malicious") > 0).then(pl.lit("malicious")),
        malware=pl.col("label"),
        tags=json_records.texts("tags"),
        also=pl.when(kind == "file").then(also),
        reference=pl.format(
            "https://www.virustotal.com/gui/{}/{}", kind.str.replace("_", "-"), name
        ),
        detect=pl.lit(False),
        reputation=pl.col("reputation").cast(pl.Int64, strict=False),
    )


def _unix(column: str) -> pl.Expr:
    return pl.from_epoch(pl.col(column).cast(pl.Int64, strict=False), "s").cast(INSTANT)


SPEC = SourceSpec(
    name="virustotal",
    domain="threat",
    title="VirusTotal",
    description="What scanners say of a file, name, address or URL, asked for one by one.",
    homepage="https://www.virustotal.com/",
    licence="VirusTotal terms of service (the public API is not for commercial use)",
    redistributable=False,
    owner="team:threat-intelligence",
    kind="lookup",
    look_back_days=0,
    start=date(2018, 1, 1),
    window_days=1,
    cadence="0 0 * * *",
    quota=Quota(500),
    fresh_for=timedelta(days=7),
    secrets=(KEY,),
    keys_at="https://www.virustotal.com/gui/my-apikey",
    policy=HttpPolicy(rate_per_second=4 / 60, max_bytes=64 << 20),
    extract=on_demand,
    lookup=lookup,
    looks_up=tuple(_PLACES),
    parse=parse,
    clean=clean,
    record_id=pl.col("type") + pl.lit(":") + pl.col("id"),
    # An answer speaks of its object alone.
    scope="id",
    raw=Contract("raw", "virustotal", RawReport, "VirusTotal's answers as delivered."),
    cleaned=Contract("cleaned", "virustotal", ReportRecord, "VirusTotal's answers, typed."),
    aggregates=(),
)
