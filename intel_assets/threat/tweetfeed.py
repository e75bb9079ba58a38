"""TweetFeed: indicators that researchers post on X. One headerless CSV file a day, no key.

A day whose file is not there (404) is not published; a day whose file has no bytes is empty.
https://github.com/0xDanielLopez/TweetFeed
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from importlib.resources import files

import pandera.polars as pa
import polars as pl

from intel_assets.errors import ParseError
from intel_assets.ingest.documents import Document, Window
from intel_assets.ingest.messages import HttpPolicy, Request
from intel_assets.lakehouse.contracts import Contract, Instant, RawRecord, Texts, field
from intel_assets.sources.spec import Aggregate, Context, SourceSpec, VolumeRule
from intel_assets.threat import canonical
from intel_assets.threat.model import IndicatorRecord, describe

FILE = (
    "https://raw.githubusercontent.com/0xDanielLopez/TweetFeed/master/"
    "{day:%Y}/{day:%Y%m}/{day:%Y%m%d}.csv"
)
_NAMES = ("time_utc", "user", "type", "value", "tags", "tweet")
_TYPES = {"url": "url", "domain": "domain", "ip": "ipv4", "md5": "md5", "sha256": "sha256"}


class RawPost(RawRecord):
    """A line of a day's file, as delivered."""

    time_utc: pl.String = field("When it was posted, UTC.")
    user: pl.String = field("Who posted it.", cls="personal")
    type: pl.String = field("url, domain, ip, md5 or sha256.")
    value: pl.String = field("The indicator.")
    tags: pl.String | None = field("Hashtags, separated by spaces.", nullable=True)
    tweet: pl.String = field("Address of the post.", cls="personal")


class PostRecord(IndicatorRecord):
    """An indicator in a post, typed and canonical."""

    indicator: pl.String = field("The indicator in canonical form.", source="value")
    raw_value: pl.String = field("The indicator as delivered.", source="value")
    indicator_type: pl.String = field(
        "What it is.", source="type", isin=sorted({*_TYPES.values(), "hostname", "ipv6"})
    )
    first_seen: Instant = field("When it was posted.", source="time_utc")
    tags: Texts = field("Hashtags, without the #.", source="tags", nullable=True)
    user: pl.String = field("Who posted it.", source="user", cls="personal")
    reference: pl.String = field(
        "Address of the post.",
        source="tweet",
        cls="personal",
        # A line that was cut off in its last field shows here alone.
        str_matches=r"^https?://[^/]+/[^/]+/status/\d+",
    )

    class Config:
        """A record stands in a body's day once."""

        unique = ["day", "record_id", "known_from"]


class TweetfeedDay(pa.DataFrameModel):
    """A day of TweetFeed in numbers."""

    day: pl.Date = field("Day of the posts (UTC).")
    indicators: pl.Int64 = field("Indicators posted.", ge=1)
    posts: pl.Int64 = field("Posts that name one.", ge=1)
    users: pl.Int64 = field("People who posted.", ge=1)
    urls: pl.Int64 = field("Of the indicators, URLs.", ge=0)
    domains: pl.Int64 = field("Of the indicators, domains.", ge=0)
    addresses: pl.Int64 = field("Of the indicators, IP addresses.", ge=0)
    hashes: pl.Int64 = field("Of the indicators, file hashes.", ge=0)
    top_tag: pl.String = field("The tag that most indicators carry.", nullable=True)
    top_tag_indicators: pl.Int64 = field("Indicators with that tag.", nullable=True)


def extract(context: Context, window: Window) -> Iterator[Document]:
    """Ask for each day's file."""
    for day in window.days:
        yield context.get(Request(FILE.format(day=day)), Window(day, day))


def parse(document: Document) -> pl.LazyFrame:
    """Read a day's file; the day follows from the file, not from its lines."""
    if document.path is None:
        raise ValueError("a document without a body cannot be parsed")
    day = pl.lit(document.fetch.window.first).alias("day")
    schema = dict.fromkeys(_NAMES, pl.String)
    if document.path.stat().st_size == 0:
        return pl.LazyFrame(schema=schema).with_columns(day)
    with document.path.open("rb") as body:
        head = body.read(512).decode("utf-8", errors="replace")
    if head.lstrip().startswith("<"):
        raise ParseError(f"line 1: this is a page and no list: {head.splitlines()[0][:120]}")
    return pl.scan_csv(document.path, has_header=False, schema=schema).with_columns(day)


def clean(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Type and canonicalise by the type that the post's line names."""
    value = canonical.refang(pl.col("value"))
    named = pl.col("type").replace_strict(_TYPES, default=None, return_dtype=pl.String)
    six = (named == "ipv4") & value.str.contains(":", literal=True)
    kind = pl.when(six).then(pl.lit("ipv6")).otherwise(named)
    digest = value.str.to_lowercase()
    tags = pl.col("tags").str.strip_chars().replace("", None)
    return describe(
        raw,
        indicator=pl.when(kind == "url")
        .then(canonical.urls(pl.col("value")).struct.field("url"))
        .when(kind == "domain")
        .then(canonical.host(value))
        .when(kind == "ipv4")
        .then(canonical.ipv4(value))
        .when(kind == "ipv6")
        .then(canonical.ipv6(value))
        .when((kind == "md5") & digest.str.contains(r"^[0-9a-f]{32}$"))
        .then(digest)
        .when((kind == "sha256") & digest.str.contains(r"^[0-9a-f]{64}$"))
        .then(digest),
        indicator_type=kind,
        raw_value=pl.col("value"),
        first_seen=pl.col("time_utc")
        .str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", strict=False)
        .dt.replace_time_zone("UTC"),
        tags=tags.str.replace_all("#", "").str.split(" "),
        reference=pl.col("tweet"),
    )


SPEC = SourceSpec(
    name="tweetfeed",
    domain="threat",
    title="TweetFeed",
    description="Indicators of compromise that researchers post on X, collected day by day.",
    homepage="https://github.com/0xDanielLopez/TweetFeed",
    licence="CC0 1.0",
    redistributable=True,
    owner="team:threat-intelligence",
    kind="event",
    look_back_days=None,
    start=date(2021, 8, 8),
    window_days=1,
    cadence="5 * * * *",
    # Lines may be added to a file for a day and a half after its day.
    late_days=2,
    # People post in fits and starts: the usual bounds would call one day in sixteen odd.
    volume=VolumeRule(collapse=0.2, burst=15.0),
    policy=HttpPolicy(rate_per_second=20.0, burst=4),
    code_version="2",
    extract=extract,
    parse=parse,
    clean=clean,
    raw=Contract("raw", "tweetfeed", RawPost, "TweetFeed's files as delivered."),
    cleaned=Contract("cleaned", "tweetfeed", PostRecord, "Posted indicators, typed and canonical."),
    aggregates=(
        Aggregate(
            Contract(
                "aggregated", "tweetfeed_daily", TweetfeedDay, "TweetFeed in numbers, by day."
            ),
            files("intel_assets.threat").joinpath("sql/tweetfeed_daily.sql").read_text("utf-8"),
        ),
    ),
)
