"""GreyNoise: whether an address scans the whole internet, or is a known service. A lookup.

The community API; an address that it has never seen answers 404.
https://docs.greynoise.io/docs/using-the-greynoise-community-api
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
from intel_assets.threat.model import IndicatorRecord, describe

KEY = "GREYNOISE_API_KEY"
URL = "https://api.greynoise.io/v3/community"

_COLUMNS = ("ip", "noise", "riot", "classification", "name", "link", "last_seen")
_CLASSES = ("malicious", "suspicious", "benign", "unknown")


class RawNoise(RawRecord):
    """What was answered of an address, as delivered."""

    ip: pl.String = field("The address.")
    noise: pl.String | None = field("Whether it scans the internet.", nullable=True)
    riot: pl.String | None = field("Whether it is a service that many use.", nullable=True)
    classification: pl.String | None = field("What it means.", nullable=True)
    name: pl.String | None = field("Whose it is.", nullable=True)
    link: pl.String | None = field("Where GreyNoise tells more.", nullable=True)
    last_seen: pl.String | None = field("The day it was seen last.", nullable=True)


class NoiseRecord(IndicatorRecord):
    """What GreyNoise answered of an address, typed."""

    indicator: pl.String = field("The address in canonical form.", source="ip")
    raw_value: pl.String = field("The address as delivered.", source="ip")
    indicator_type: pl.String = field("ipv4.", source="ip", isin=["ipv4"], nullable=True)
    first_seen: Instant = field("The day it was asked: the answer says nothing of before.")
    last_seen: Instant = field("The day it was seen last.", source="last_seen", nullable=True)
    threat: pl.String = field(
        "What it means: malicious, suspicious, benign or unknown.",
        source="classification",
        nullable=True,
        isin=_CLASSES,
    )
    reference: pl.String = field("Where GreyNoise tells more.", source="link", nullable=True)
    noise: pl.Boolean = field("Whether it scans the internet.", source="noise", nullable=True)
    riot: pl.Boolean = field("Whether it is a service that many use.", source="riot", nullable=True)
    operator: pl.String = field("Whose it is.", source="name", nullable=True)


def lookup(context: Context, indicator: str, kind: str) -> Request:
    """Ask of an address."""
    return Request(f"{URL}/{indicator}", headers={"key": context.secret(KEY)})


def parse(document: Document) -> pl.LazyFrame:
    """Read an answer.

    Raises:
        ParseError: If it says nothing of an address.
    """
    if document.path is None:
        raise ValueError("a document without a body cannot be parsed")
    records = [one for one in json_records.listed(document.path) if "ip" in one]
    if not records:
        raise ParseError("line 1: there is no address in it")
    told = [{name: value for name, value in one.items() if name != "message"} for one in records]
    day = pl.lit(day_of(document.fetch))
    return json_records.frame(told, _COLUMNS).with_columns(day=day)


def clean(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Type and canonicalise."""
    address = canonical.address(pl.col("ip"))
    return describe(
        raw,
        indicator=address,
        indicator_type=canonical.address_type(address),
        raw_value=pl.col("ip"),
        first_seen=pl.col("day").cast(INSTANT),
        last_seen=pl.col("last_seen").str.to_date("%Y-%m-%d", strict=False).cast(INSTANT),
        threat=pl.col("classification").str.to_lowercase().replace("", None),
        reference=pl.col("link").replace("", None),
        detect=pl.lit(False),
        noise=pl.col("noise") == "true",
        riot=pl.col("riot") == "true",
        operator=pl.col("name").replace(["", "unknown"], None),
    )


SPEC = SourceSpec(
    name="greynoise",
    domain="threat",
    title="GreyNoise Community",
    description="Whether an address scans the whole internet, or is a service that many use.",
    homepage="https://viz.greynoise.io/",
    licence="GreyNoise terms of service",
    redistributable=False,
    owner="team:threat-intelligence",
    kind="lookup",
    look_back_days=0,
    start=date(2018, 1, 1),
    window_days=1,
    cadence="0 0 * * *",
    # What a free account gives has changed often; it says 429 when it has had enough.
    quota=Quota(50),
    fresh_for=timedelta(days=7),
    secrets=(KEY,),
    keys_at="https://viz.greynoise.io/account/api-key",
    policy=HttpPolicy(rate_per_second=1.0),
    extract=on_demand,
    lookup=lookup,
    looks_up=("ipv4",),
    parse=parse,
    clean=clean,
    record_id=pl.col("ip"),
    # An answer speaks of its address alone.
    scope="ip",
    raw=Contract("raw", "greynoise", RawNoise, "GreyNoise's answers as delivered."),
    cleaned=Contract("cleaned", "greynoise", NoiseRecord, "GreyNoise's answers, typed."),
    aggregates=(),
)
