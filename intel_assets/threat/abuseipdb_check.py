"""AbuseIPDB's check of one address: what was reported of it. A lookup with a key and a quota.

https://docs.abuseipdb.com/#check-endpoint
"""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from intel_assets.errors import ParseError
from intel_assets.ingest import json_records
from intel_assets.ingest.documents import Document
from intel_assets.ingest.messages import HttpPolicy, Request
from intel_assets.lakehouse.contracts import INSTANT, Contract, Instant, RawRecord, field
from intel_assets.sources.snapshots import day_of
from intel_assets.sources.spec import Context, Quota, SourceSpec, on_demand
from intel_assets.threat import canonical
from intel_assets.threat.abuseipdb import KEY
from intel_assets.threat.model import IndicatorRecord, describe

URL = "https://api.abuseipdb.com/api/v2/check"
REPORTS_OF_DAYS = 90

_COLUMNS = (
    "ipAddress",
    "abuseConfidenceScore",
    "countryCode",
    "usageType",
    "isp",
    "isWhitelisted",
    "isTor",
    "totalReports",
    "numDistinctUsers",
    "lastReportedAt",
)


class RawCheck(RawRecord):
    """What was answered of an address, as delivered."""

    ipAddress: pl.String = field("The address.")
    abuseConfidenceScore: pl.String = field("How sure AbuseIPDB is, 0 to 100.")
    countryCode: pl.String | None = field("Where it is.", nullable=True)
    usageType: pl.String | None = field("What it is used for.", nullable=True)
    isp: pl.String | None = field("Whose it is.", nullable=True)
    isWhitelisted: pl.String | None = field("Whether AbuseIPDB trusts it.", nullable=True)
    isTor: pl.String | None = field("Whether it is an exit of Tor.", nullable=True)
    totalReports: pl.String | None = field("Reports of the last 90 days.", nullable=True)
    numDistinctUsers: pl.String | None = field("How many people reported.", nullable=True)
    lastReportedAt: pl.String | None = field("When it was reported last.", nullable=True)


class CheckRecord(IndicatorRecord):
    """What AbuseIPDB answered of an address, typed."""

    indicator: pl.String = field("The address in canonical form.", source="ipAddress")
    raw_value: pl.String = field("The address as delivered.", source="ipAddress")
    indicator_type: pl.String = field(
        "ipv4 or ipv6.", source="ipAddress", isin=["ipv4", "ipv6"], nullable=True
    )
    first_seen: Instant = field("The day it was asked: the answer says nothing of before.")
    last_seen: Instant = field("When it was reported last.", source="lastReportedAt", nullable=True)
    confidence: pl.Int32 = field(
        "How sure AbuseIPDB is.", source="abuseConfidenceScore", ge=0, le=100
    )
    reports: pl.Int64 = field("Reports of the last 90 days.", source="totalReports", nullable=True)
    reporters: pl.Int64 = field("Who reported.", source="numDistinctUsers", nullable=True)
    country: pl.String = field("Where it is.", source="countryCode", nullable=True)
    usage: pl.String = field("What it is used for.", source="usageType", nullable=True)
    isp: pl.String = field("Whose it is.", source="isp", nullable=True)
    trusted: pl.Boolean = field(
        "Whether AbuseIPDB has it on its own allow-list.", source="isWhitelisted", nullable=True
    )
    tor: pl.Boolean = field("Whether it is an exit of Tor.", source="isTor", nullable=True)


def lookup(context: Context, indicator: str, kind: str) -> Request:
    """Ask of an address."""
    return Request(
        URL,
        params={"ipAddress": indicator, "maxAgeInDays": REPORTS_OF_DAYS},
        headers={"Key": context.secret(KEY), "Accept": "application/json"},
    )


def parse(document: Document) -> pl.LazyFrame:
    """Read an answer.

    Raises:
        ParseError: If it says nothing of an address.
    """
    if document.path is None:
        raise ValueError("a document without a body cannot be parsed")
    records = [one for one in json_records.listed(document.path, "data") if "ipAddress" in one]
    if not records:
        raise ParseError("line 1: there is no address in it")
    day = pl.lit(day_of(document.fetch))
    return json_records.frame(records, _COLUMNS).with_columns(day=day)


def clean(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Type and canonicalise."""
    address = canonical.address(pl.col("ipAddress"))
    return describe(
        raw,
        indicator=address,
        indicator_type=canonical.address_type(address),
        raw_value=pl.col("ipAddress"),
        first_seen=pl.col("day").cast(INSTANT),
        last_seen=pl.col("lastReportedAt")
        .str.to_datetime("%Y-%m-%dT%H:%M:%S%z", time_unit="us", strict=False)
        .dt.convert_time_zone("UTC"),
        confidence=pl.col("abuseConfidenceScore").cast(pl.Int32, strict=False),
        threat=pl.lit("abuse"),
        detect=pl.lit(False),
        reports=pl.col("totalReports").cast(pl.Int64, strict=False),
        reporters=pl.col("numDistinctUsers").cast(pl.Int64, strict=False),
        country=pl.col("countryCode").replace("", None),
        usage=pl.col("usageType").replace("", None),
        isp=pl.col("isp").replace("", None),
        trusted=pl.col("isWhitelisted") == "true",
        tor=pl.col("isTor") == "true",
    )


SPEC = SourceSpec(
    name="abuseipdb_check",
    domain="threat",
    title="AbuseIPDB check",
    description="What was reported of an address, asked for one by one.",
    homepage="https://www.abuseipdb.com/",
    licence="AbuseIPDB terms of service",
    redistributable=False,
    owner="team:threat-intelligence",
    kind="lookup",
    look_back_days=0,
    start=date(2018, 1, 1),
    window_days=1,
    cadence="0 0 * * *",
    quota=Quota(1000),
    fresh_for=timedelta(days=1),
    secrets=(KEY,),
    keys_at="https://www.abuseipdb.com/account/api",
    policy=HttpPolicy(rate_per_second=2.0),
    extract=on_demand,
    lookup=lookup,
    looks_up=("ipv4", "ipv6"),
    parse=parse,
    clean=clean,
    record_id=pl.col("ipAddress"),
    # An answer speaks of its address alone.
    scope="ipAddress",
    raw=Contract("raw", "abuseipdb_check", RawCheck, "AbuseIPDB's answers as delivered."),
    cleaned=Contract("cleaned", "abuseipdb_check", CheckRecord, "AbuseIPDB's answers, typed."),
    aggregates=(),
)
