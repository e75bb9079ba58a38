"""URLhaus's payloads (abuse.ch): the files that its URLs gave. The API tells of the newest.

An event feed of the last thousand payloads; how far that reaches back hangs on how many there are.
https://urlhaus-api.abuse.ch/
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from importlib.resources import files

import pandera.polars as pa
import polars as pl

from intel_assets.errors import ParseError
from intel_assets.ingest import json_records
from intel_assets.ingest.documents import Document, Window
from intel_assets.ingest.messages import HttpPolicy, Request
from intel_assets.lakehouse.contracts import Contract, Instant, RawRecord, field
from intel_assets.sources.spec import Aggregate, Context, Interval, SourceSpec, Span
from intel_assets.threat import abusech, canonical
from intel_assets.threat.model import IndicatorRecord, describe

API = "https://urlhaus-api.abuse.ch/v1/payloads/recent/"
_ANSWERED = ("ok", "no_results")
_COLUMNS = ("md5_hash", "sha256_hash", "firstseen")


class RawPayload(RawRecord):
    """A payload, as delivered."""

    md5_hash: pl.String | None = field("MD5 of the file.", nullable=True)
    sha256_hash: pl.String = field("SHA-256 of the file.")
    file_type: pl.String | None = field("Its kind: exe, dll, …", nullable=True)
    file_size: pl.String | None = field("Its size in bytes.", nullable=True)
    firstseen: pl.String = field("When it was first given, UTC.")
    signature: pl.String | None = field("Malware family.", nullable=True)
    imphash: pl.String | None = field("Hash of its imports.", nullable=True)
    ssdeep: pl.String | None = field("Fuzzy hash.", nullable=True)
    tlsh: pl.String | None = field("Fuzzy hash.", nullable=True)
    virustotal: pl.String | None = field("VirusTotal's verdict then, JSON.", nullable=True)
    urlhaus_download: pl.String | None = field("Where the file is.", nullable=True)


class PayloadRecord(IndicatorRecord):
    """A payload, typed and canonical."""

    indicator: pl.String = field("SHA-256 of the file.", source="sha256_hash")
    raw_value: pl.String = field("SHA-256 as delivered.", source="sha256_hash")
    indicator_type: pl.String = field("Always `sha256`.", source="sha256_hash", isin=["sha256"])
    first_seen: Instant = field("When it was first given.", source="firstseen")
    malware: pl.String = field("Malware family.", source="signature", nullable=True)
    file_type: pl.String = field("Its kind.", source="file_type", nullable=True)
    file_size: pl.Int64 = field("Its size in bytes.", source="file_size", nullable=True, ge=0)
    detected: pl.Float64 = field(
        "Share of VirusTotal's engines that called it malicious then, in percent.",
        source="virustotal",
        nullable=True,
        ge=0,
        le=100,
    )

    class Config:
        """A record stands in a body's day once."""

        unique = ["day", "record_id", "known_from"]


class UrlhausPayloadsDay(pa.DataFrameModel):
    """A day of URLhaus's payloads in numbers."""

    day: pl.Date = field("Day on which the payloads were first given (UTC).")
    payloads: pl.Int64 = field("Payloads.", ge=1)
    families: pl.Int64 = field("Distinct malware families.", ge=0)
    unnamed: pl.Int64 = field("Payloads without a family.", ge=0)
    top_family: pl.String = field("The family with the most payloads.", nullable=True)


def extract(context: Context, window: Window) -> Iterator[Document]:
    """Ask for the newest payloads."""
    key = context.secret(abusech.KEY)
    yield context.get(Request(API, headers={"Auth-Key": key}), window)


def parse(document: Document) -> pl.LazyFrame:
    """Read the API's answer, or its records a line each."""
    if document.path is None:
        raise ValueError("a document without a body cannot be parsed")
    records = json_records.listed(document.path, "payloads")
    status = records[0].get("query_status", "ok") if records else "ok"
    if status not in _ANSWERED:
        raise ParseError(f"line 1: URLhaus answered {status!r}")
    return json_records.frame([one for one in records if "sha256_hash" in one], _COLUMNS)


def covers(document: Document, span: Span) -> Interval | None:
    """An answer speaks of the time since its oldest payload, to when it was made."""
    if span.first is None or span.last is None:
        return None
    fetch = document.fetch
    made = None if fetch.outcome == "landed" else fetch.started_at
    return abusech.reach(span.first, span.last, made)


def clean(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Type and canonicalise."""
    digest = canonical.digest(pl.col("sha256_hash"))
    percent = pl.col("virustotal").str.json_path_match("$.percent")
    return describe(
        raw,
        indicator=pl.when(digest.str.len_bytes() == 64).then(digest),
        indicator_type=pl.lit("sha256"),
        raw_value=pl.col("sha256_hash"),
        first_seen=abusech.moment("firstseen"),
        threat=pl.lit("payload"),
        malware=abusech.text("signature"),
        also=abusech.hashes(md5="md5_hash", imphash="imphash"),
        file_type=abusech.text("file_type"),
        file_size=pl.col("file_size").cast(pl.Int64, strict=False),
        detected=percent.cast(pl.Float64, strict=False),
    )


SPEC = SourceSpec(
    name="urlhaus_payloads",
    domain="threat",
    title="URLhaus payloads",
    description="Files that URLs known to URLhaus gave, by their hashes.",
    homepage="https://urlhaus.abuse.ch/",
    licence="CC0 1.0",
    redistributable=True,
    owner="team:threat-intelligence",
    kind="event",
    # At the least: a thousand payloads are some days.
    look_back_days=1,
    start=date(2018, 3, 1),
    window_days=3,
    cadence="25 * * * *",
    secrets=(abusech.KEY,),
    keys_at=abusech.KEYS_AT,
    policy=HttpPolicy(rate_per_second=2.0),
    # What such a URL gave is not always malware: pages and pictures are among it.
    trust=60,
    extract=extract,
    parse=parse,
    clean=clean,
    record_id=pl.col("sha256_hash").str.to_lowercase(),
    event_time=abusech.moment("firstseen"),
    covers=covers,
    raw=Contract("raw", "urlhaus_payloads", RawPayload, "URLhaus's payloads as delivered."),
    cleaned=Contract("cleaned", "urlhaus_payloads", PayloadRecord, "Payloads, typed, canonical."),
    aggregates=(
        Aggregate(
            Contract(
                "aggregated",
                "urlhaus_payloads_daily",
                UrlhausPayloadsDay,
                "URLhaus's payloads in numbers, by day.",
            ),
            files("intel_assets.threat")
            .joinpath("sql/urlhaus_payloads_daily.sql")
            .read_text("utf-8"),
        ),
    ),
)
