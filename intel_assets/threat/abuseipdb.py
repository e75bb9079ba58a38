"""AbuseIPDB: addresses that many people report. A state feed with a key and few requests a day.

The list is cut off at what the plan allows (10,000 addresses on the free one), without a word. So
an address that a later body of the same day lacks has not been withdrawn: a day's snapshot is what
was listed at any time of it. https://docs.abuseipdb.com/#blacklist-endpoint
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from importlib.resources import files

import pandera.polars as pa
import polars as pl

from intel_assets.errors import ParseError
from intel_assets.ingest import json_records
from intel_assets.ingest.documents import Document, Window
from intel_assets.ingest.messages import HttpPolicy, Request
from intel_assets.lakehouse.contracts import INSTANT, Contract, Instant, RawRecord, field
from intel_assets.sources.snapshots import day_of, whole_day
from intel_assets.sources.spec import Aggregate, Context, Quota, SourceSpec
from intel_assets.threat import canonical
from intel_assets.threat.model import IndicatorRecord, describe

KEY = "ABUSEIPDB_API_KEY"
URL = "https://api.abuseipdb.com/api/v2/blacklist"
# Below 100 the list is for subscribers only.
MINIMUM = 100
LIMIT = 10_000
"""Addresses that the free plan gives at most."""

_COLUMNS = ("ipAddress", "abuseConfidenceScore", "lastReportedAt")


class RawAddress(RawRecord):
    """An address, as delivered."""

    ipAddress: pl.String = field("The address.")
    abuseConfidenceScore: pl.String = field("How sure AbuseIPDB is, 0 to 100.")
    countryCode: pl.String | None = field("Where it is.", nullable=True)
    lastReportedAt: pl.String | None = field("When it was reported last.", nullable=True)


class AddressRecord(IndicatorRecord):
    """An address in a snapshot, typed and canonical."""

    indicator: pl.String = field("The address in canonical form.", source="ipAddress")
    raw_value: pl.String = field("The address as delivered.", source="ipAddress")
    indicator_type: pl.String = field(
        "ipv4 or ipv6.", source="ipAddress", isin=["ipv4", "ipv6"], nullable=True
    )
    first_seen: Instant = field("The snapshot's day: the list says nothing of the time before.")
    last_seen: Instant = field("When it was reported last.", source="lastReportedAt", nullable=True)
    confidence: pl.Int32 = field(
        "How sure AbuseIPDB is.", source="abuseConfidenceScore", ge=0, le=100
    )
    country: pl.String = field("Where it is.", source="countryCode", nullable=True)

    class Config:
        """A record stands in a body once."""

        unique = ["day", "record_id", "known_from"]


class AbuseipdbDay(pa.DataFrameModel):
    """A snapshot of AbuseIPDB in numbers."""

    day: pl.Date = field("Day of the snapshot (UTC).")
    addresses: pl.Int64 = field("Addresses listed at any time of the day.", ge=1)
    six: pl.Int64 = field("Of these, IPv6.", ge=0)
    countries: pl.Int64 = field("Distinct countries.", ge=0)
    top_country: pl.String = field("The country with the most addresses.", nullable=True)


def extract(context: Context, window: Window) -> Iterator[Document]:
    """Ask for the list as it stands, as long as the plan allows."""
    yield context.get(
        Request(
            URL,
            params={"confidenceMinimum": MINIMUM, "limit": LIMIT},
            headers={"Key": context.secret(KEY), "Accept": "application/json"},
        ),
        window,
    )


def parse(document: Document) -> pl.LazyFrame:
    """Read a list.

    Raises:
        ParseError: If it is no list, or an empty one: that would say that nobody is bad.
    """
    if document.path is None:
        raise ValueError("a document without a body cannot be parsed")
    records = [one for one in json_records.listed(document.path, "data") if "ipAddress" in one]
    if not records:
        raise ParseError("line 1: there is no address in it")
    day = pl.lit(day_of(document.fetch))
    return json_records.frame(records, _COLUMNS).with_columns(day=day)


def clean(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Type and canonicalise: the list holds IPv4 and IPv6."""
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
        country=pl.col("countryCode").replace("", None),
    )


SPEC = SourceSpec(
    name="abuseipdb",
    domain="threat",
    title="AbuseIPDB",
    description="Addresses that many people report for attacks, scans and spam.",
    homepage="https://www.abuseipdb.com/",
    licence="AbuseIPDB terms of service",
    redistributable=False,
    owner="team:threat-intelligence",
    kind="state",
    look_back_days=0,
    start=date(2018, 1, 1),
    window_days=1,
    cadence="30 */6 * * *",
    late_days=0,
    quota=Quota(5),
    stale_after=timedelta(days=2),
    secrets=(KEY,),
    keys_at="https://www.abuseipdb.com/account/api",
    policy=HttpPolicy(rate_per_second=0.5, max_bytes=256 << 20),
    # It says itself how sure it is.
    trust=50,
    extract=extract,
    parse=parse,
    clean=clean,
    record_id=pl.col("ipAddress"),
    covers=whole_day,
    # What lies behind the cut is not withdrawn.
    scope="ipAddress",
    raw=Contract("raw", "abuseipdb", RawAddress, "AbuseIPDB's list as delivered, by day."),
    cleaned=Contract("cleaned", "abuseipdb", AddressRecord, "Addresses, typed and canonical."),
    aggregates=(
        Aggregate(
            Contract("aggregated", "abuseipdb_daily", AbuseipdbDay, "AbuseIPDB by day."),
            files("intel_assets.threat").joinpath("sql/abuseipdb_daily.sql").read_text("utf-8"),
        ),
    ),
)
