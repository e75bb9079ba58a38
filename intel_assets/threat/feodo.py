"""Feodo Tracker (abuse.ch): servers that command botnets. A state feed without a key.

Formats: the JSON block list that is asked for, and the three generations of the CSV.
https://feodotracker.abuse.ch/blocklist/
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from importlib.resources import files

import pandera.polars as pa
import polars as pl

from intel_assets.ingest import json_records
from intel_assets.ingest.documents import Document, Window
from intel_assets.ingest.messages import HttpPolicy, Request
from intel_assets.lakehouse.contracts import INSTANT, Contract, Instant, RawRecord, field
from intel_assets.sources.snapshots import day_of, whole_day
from intel_assets.sources.spec import Aggregate, Context, SourceSpec
from intel_assets.threat import abusech, canonical
from intel_assets.threat.model import IndicatorRecord, describe

URL = "https://feodotracker.abuse.ch/downloads/ipblocklist.json"
_COLUMNS = ("ip_address", "port", "malware")
_NAMES = {
    "first_seen_utc": "first_seen",
    "firstseen": "first_seen",
    "dst_ip": "ip_address",
    "dstip": "ip_address",
    "dst_port": "port",
    "dstport": "port",
    "c2_status": "status",
    "lastonline": "last_online",
}


class RawServer(RawRecord):
    """A server, as delivered; the CSV's columns go by the names of the JSON."""

    ip_address: pl.String = field("Its address.")
    port: pl.String = field("Its port.")
    malware: pl.String = field("The botnet's malware.")
    status: pl.String | None = field("online or offline.", nullable=True)
    hostname: pl.String | None = field("Its name.", nullable=True)
    as_number: pl.String | None = field("Number of its network.", nullable=True)
    as_name: pl.String | None = field("Name of its network.", nullable=True)
    country: pl.String | None = field("Where it stands.", nullable=True)
    first_seen: pl.String | None = field("When it was first seen, UTC.", nullable=True)
    last_online: pl.String | None = field("The last day on which it answered.", nullable=True)


class ServerRecord(IndicatorRecord):
    """A server in a snapshot, typed and canonical."""

    indicator: pl.String = field("Its address in canonical form.", source="ip_address")
    raw_value: pl.String = field("Its address as delivered.", source="ip_address")
    indicator_type: pl.String = field(
        "ipv4 or ipv6.", source="ip_address", isin=["ipv4", "ipv6"], nullable=True
    )
    first_seen: Instant = field(
        "When it was first seen; the snapshot's day where Feodo Tracker does not say.",
        source="first_seen",
    )
    last_seen: Instant = field(
        "The end of the last day on which it answered.", source="last_online", nullable=True
    )
    malware: pl.String = field("The botnet's malware.", source="malware", nullable=True)
    port: pl.Int32 = field("Its port.", source="port", ge=1, le=65_535)
    status: pl.String = field(
        "Whether it answers.", source="status", isin=["online", "offline"], nullable=True
    )
    hostname: pl.String = field("Its name.", source="hostname", nullable=True)
    as_number: pl.Int64 = field("Number of its network.", source="as_number", nullable=True)
    as_name: pl.String = field("Name of its network.", source="as_name", nullable=True)
    country: pl.String = field("Where it stands.", source="country", nullable=True)

    class Config:
        """A record stands in a body once."""

        unique = ["day", "record_id", "known_from"]


class FeodoDay(pa.DataFrameModel):
    """A snapshot of Feodo Tracker in numbers."""

    day: pl.Date = field("Day of the snapshot (UTC).")
    servers: pl.Int64 = field("Servers.", ge=1)
    online: pl.Int64 = field("Of these, those that answer.", ge=0)
    families: pl.Int64 = field("Distinct botnets.", ge=0)
    countries: pl.Int64 = field("Distinct countries.", ge=0)
    top_family: pl.String = field("The botnet with the most servers.", nullable=True)


def extract(context: Context, window: Window) -> Iterator[Document]:
    """Ask for the list as it stands."""
    yield context.get(Request(URL), window)


def parse(document: Document) -> pl.LazyFrame:
    """Read the JSON, or a CSV of 2019, of 2020 or of today."""
    if document.path is None:
        raise ValueError("a document without a body cannot be parsed")
    if abusech.head(document.path).lstrip().startswith(("[", "{")):
        found = json_records.frame(json_records.listed(document.path), _COLUMNS)
    else:
        found = abusech.read_csv(document.path, _NAMES, ("first_seen_utc", "firstseen"))
    return found.with_columns(day=pl.lit(day_of(document.fetch)))


def clean(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Type and canonicalise."""
    address = canonical.address(pl.col("ip_address"))
    ended = pl.col("last_online").str.to_date("%Y-%m-%d", strict=False) + timedelta(days=1)
    return describe(
        raw,
        indicator=address,
        indicator_type=canonical.address_type(address),
        raw_value=pl.col("ip_address"),
        first_seen=pl.coalesce(abusech.moment("first_seen"), pl.col("day").cast(INSTANT)),
        last_seen=ended.cast(INSTANT) - timedelta(microseconds=1),
        threat=pl.lit("botnet_cc"),
        malware=abusech.text("malware"),
        port=pl.col("port").cast(pl.Int32, strict=False),
        status=pl.col("status").str.to_lowercase(),
        hostname=abusech.text("hostname"),
        as_number=pl.col("as_number").cast(pl.Int64, strict=False),
        as_name=abusech.text("as_name"),
        country=abusech.text("country"),
    )


SPEC = SourceSpec(
    name="feodo",
    domain="threat",
    title="Feodo Tracker",
    description="Servers that command the botnets Dridex, Emotet, QakBot and others.",
    homepage="https://feodotracker.abuse.ch/",
    licence="CC0 1.0",
    redistributable=True,
    owner="team:threat-intelligence",
    kind="state",
    look_back_days=0,
    start=date(2019, 1, 1),
    window_days=1,
    cadence="35 */6 * * *",
    late_days=0,
    # Its botnets were taken down one by one: a list of a few servers may rest for weeks.
    stale_after=timedelta(days=30),
    policy=HttpPolicy(rate_per_second=1.0, max_bytes=64 << 20),
    # Each server was spoken to in its botnet's own protocol.
    trust=90,
    extract=extract,
    parse=parse,
    clean=clean,
    record_id=pl.col("ip_address") + ":" + pl.col("port"),
    covers=whole_day,
    raw=Contract("raw", "feodo", RawServer, "Feodo Tracker's list as delivered, by day."),
    cleaned=Contract("cleaned", "feodo", ServerRecord, "Servers, typed and canonical."),
    aggregates=(
        Aggregate(
            Contract("aggregated", "feodo_daily", FeodoDay, "Feodo Tracker in numbers, by day."),
            files("intel_assets.threat").joinpath("sql/feodo_daily.sql").read_text("utf-8"),
        ),
    ),
)
