"""URLhaus (abuse.ch): URLs that spread malware. An event feed with a rolling dump of 30 days.

Formats: the CSV dump of eight columns (to 2020) and nine, the TLD feed with hosts and countries,
the JSON dump and the API's list. https://urlhaus-api.abuse.ch/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandera.polars as pa
import polars as pl

from intel_assets.errors import ParseError
from intel_assets.ingest import json_records
from intel_assets.ingest.documents import Document, Window
from intel_assets.ingest.messages import HttpPolicy, Request
from intel_assets.lakehouse.contracts import Contract, Instant, RawRecord, Texts, field
from intel_assets.sources.spec import Aggregate, Context, Interval, SourceSpec, Span
from intel_assets.threat import abusech, canonical
from intel_assets.threat.model import IndicatorRecord, describe

DUMP = "https://urlhaus-api.abuse.ch/files/exports/recent.csv"
_HEAD_BYTES = 65_536
_NAMES = {
    "dateadded (utc)": "dateadded",
    "date_added": "dateadded",
    "urlhaus_reference": "urlhaus_link",
}


class RawUrl(RawRecord):
    """A line of a dump, as delivered."""

    id: pl.String | None = field("URLhaus's number of the URL.", nullable=True)
    dateadded: pl.String = field("When URLhaus added it, UTC.")
    url: pl.String = field("The URL.")
    url_status: pl.String = field("online, offline or unknown.")
    last_online: pl.String | None = field("When it was last seen online.", nullable=True)
    threat: pl.String = field("What it does.")
    tags: pl.String | None = field("Tags: comma-joined, a JSON list, or `None`.", nullable=True)
    urlhaus_link: pl.String | None = field("URLhaus's page about it.", nullable=True)
    # Bodies without this column are older; a line without its last field is cut off.
    reporter: pl.String | None = field("Who reported it.", cls="personal")


class UrlRecord(IndicatorRecord):
    """A URL, typed and canonical."""

    first_seen: Instant = field("When URLhaus added it.", source="dateadded")
    last_seen: Instant = field("When it was last online.", source="last_online", nullable=True)
    threat: pl.String = field("What it does.", source="threat", nullable=True)
    tags: Texts = field("Tags.", source="tags", nullable=True)
    reference: pl.String = field("URLhaus's page.", source="urlhaus_link", nullable=True)
    url_id: pl.Int64 = field("URLhaus's number of the URL.", source="id", nullable=True, ge=1)
    url_status: pl.String = field(
        "Whether it answers.", source="url_status", isin=["online", "offline", "unknown"]
    )
    host: pl.String = field("The URL's host, canonical.", source="url")
    reporter: pl.String = field(
        "Who reported it.", source="reporter", cls="personal", nullable=True
    )

    class Config:
        """A record stands in a body's day once."""

        unique = ["day", "record_id", "known_from"]


class UrlhausDay(pa.DataFrameModel):
    """A day of URLhaus in numbers."""

    day: pl.Date = field("Day on which the URLs were added (UTC).")
    urls: pl.Int64 = field("URLs added.", ge=1)
    hosts: pl.Int64 = field("Distinct hosts.", ge=1)
    online: pl.Int64 = field("Of the URLs, those that answer.", ge=0)
    offline: pl.Int64 = field("Of the URLs, those that do not.", ge=0)
    untagged: pl.Int64 = field("Of the URLs, those without a tag.", ge=0)
    reporters: pl.Int64 = field("Distinct reporters.", ge=0)
    top_tag: pl.String = field("The tag that most URLs carry.", nullable=True)
    top_tag_urls: pl.Int64 = field("URLs with that tag.", nullable=True)


def extract(context: Context, window: Window) -> Iterator[Document]:
    """Ask for the dump of the last 30 days: one request answers every day in it."""
    yield context.get(Request(DUMP, params={"auth-key": context.secret(abusech.KEY)}), window)


def parse(document: Document) -> pl.LazyFrame:
    """Read a dump of any generation: text columns under URLhaus's names."""
    path = _file(document)
    head = _head(path).lstrip("\ufeff")
    if head.lstrip()[:1] in {"{", "["}:
        return _parse_json(path)
    columns = next(
        (
            [name.strip().strip('"').lower() for name in line.lstrip("# ").split(",")]
            for line in head.splitlines()
            if line.startswith("#") and line.lower().lstrip("# ").startswith(("id,", "dateadded"))
        ),
        None,
    )
    if columns is None:
        first = next((line for line in head.splitlines() if line.strip()), "(an empty body)")
        raise ParseError(f"line 1: this is no URLhaus dump, its header is missing: {first[:120]}")
    names = [_NAMES.get(name, name) for name in columns]
    return pl.scan_csv(
        path,
        has_header=False,
        comment_prefix="#",
        schema=dict.fromkeys(names, pl.String),
        truncate_ragged_lines=False,
    )


def covers(document: Document, span: Span) -> Interval | None:
    """A dump speaks of the time from its oldest record to the moment it was made.

    It says when that was; a cache may give an old dump again after a newer one.
    """
    if span.first is None or span.last is None:
        return None
    return abusech.reach(span.first, span.last, abusech.made(_head(_file(document))))


def clean(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Type and canonicalise; `None` and empty text are null."""
    tags = _text("tags").str.strip_chars('[]"').str.replace_all(r'"\s*,\s*"', ",")
    url = pl.col("_url").struct
    return describe(
        raw.with_columns(_url=canonical.urls(pl.col("url"))),
        indicator=url.field("url"),
        indicator_type=pl.lit("url"),
        raw_value=pl.col("url"),
        host=url.field("host"),
        first_seen=abusech.moment("dateadded"),
        last_seen=abusech.moment("last_online"),
        threat=_text("threat"),
        tags=tags.str.split(","),
        reference=_text("urlhaus_link"),
        url_id=pl.col("id").cast(pl.Int64, strict=False),
        url_status=pl.col("url_status").str.to_lowercase(),
        reporter=_text("reporter"),
    )


def _text(name: str) -> pl.Expr:
    return pl.col(name).replace(["None", ""], None)


def _file(document: Document) -> Path:
    if document.path is None:
        raise ValueError("a document without a body cannot be parsed")
    return document.path


def _head(path: Path) -> str:
    with path.open("rb") as body:
        return body.read(_HEAD_BYTES).decode("utf-8", errors="replace")


def _parse_json(path: Path) -> pl.LazyFrame:
    """Read the JSON dump (an object of lists), the API's answer, or a record a line."""
    records = _json_records(json_records.load(path))
    if not all(isinstance(record, Mapping) for record in records):
        start = path.read_text("utf-8-sig", errors="replace")[:120]
        raise ParseError(f"line 1: this is no list of URLs: {start}")
    named = [{_NAMES.get(key, key): value for key, value in one.items()} for one in records]
    return json_records.frame(named, ["id", "dateadded", "url", "url_status", "threat"])


def _json_records(whole: Any) -> list[Any]:
    listed = whole.get("urls", whole) if isinstance(whole, Mapping) else whole
    if not isinstance(listed, Mapping):
        return list(listed) if isinstance(listed, list) else [listed]
    if "url" in listed:
        return [listed]
    return [
        {"id": key} | record if isinstance(record, dict) else record
        for key, group in listed.items()
        for record in (group if isinstance(group, list) else [group])
    ]


SPEC = SourceSpec(
    name="urlhaus",
    domain="threat",
    title="URLhaus",
    description="URLs that spread malware, reported to and tracked by abuse.ch.",
    homepage="https://urlhaus.abuse.ch/",
    licence="CC0 1.0",
    redistributable=True,
    owner="team:threat-intelligence",
    kind="event",
    look_back_days=30,
    start=date(2018, 3, 1),
    window_days=30,
    cadence="*/15 * * * *",
    secrets=(abusech.KEY,),
    keys_at=abusech.KEYS_AT,
    policy=HttpPolicy(rate_per_second=2.0),
    code_version="2",
    extract=extract,
    parse=parse,
    clean=clean,
    covers=covers,
    record_id=pl.col("id"),
    event_time=abusech.moment("dateadded"),
    raw=Contract("raw", "urlhaus", RawUrl, "URLhaus dumps as delivered, every version of a URL."),
    cleaned=Contract("cleaned", "urlhaus", UrlRecord, "URLs of URLhaus, typed and canonical."),
    aggregates=(
        Aggregate(
            Contract("aggregated", "urlhaus_daily", UrlhausDay, "URLhaus in numbers, by day."),
            files("intel_assets.threat").joinpath("sql/urlhaus_daily.sql").read_text("utf-8"),
        ),
    ),
)
