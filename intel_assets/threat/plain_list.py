"""Plain lists: any text list of addresses, ranges or domains by URL, one indicator a line.

A list is a state feed: what it holds now is the whole truth, and nobody can be asked what it held
yesterday. The forms: a bare indicator; one with a count behind it (IPsum); a hosts file; comments
behind `#`, `;` or `//`, on lines of their own or after an indicator.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from datetime import date, timedelta

import pandera.polars as pa
import polars as pl

from intel_assets.errors import ParseError
from intel_assets.ingest.documents import Document, Window
from intel_assets.ingest.messages import HttpPolicy, Request
from intel_assets.lakehouse.catalog import derived_sql
from intel_assets.lakehouse.contracts import INSTANT, Contract, Instant, RawRecord, field
from intel_assets.sources.snapshots import day_of, whole_day
from intel_assets.sources.spec import Aggregate, Context, SourceSpec, VolumeRule
from intel_assets.threat import canonical
from intel_assets.threat.model import IndicatorRecord, describe

# A list is held in memory while it is read.
POLICY = HttpPolicy(rate_per_second=2.0, max_bytes=256 << 20)
_KINDS = ("ipv4", "ipv6", "cidr", "domain", "hostname")

_COMMENT = r"^(?:[#;]|//)"
_NOTE = r"\s*(?:[#;]|\s//)[#;/\s]*(.*)$"
_COUNTED = r"^(\S+?)(?:\s+|\s*,\s*)([0-9]{1,9})$"
# The names that a hosts file blocks stand behind an address that leads nowhere.
_HOSTS = r"^(?:0\.0\.0\.0|127\.0\.0\.1|255\.255\.255\.255|::1?|f[ef][0-9a-f]{2}::\S*)\s+(\S.*)$"
# What every hosts file says of its own machine blocks nothing, so it is no entry.
_OWN_NAMES = (
    r"^(?:localhost|local|broadcasthost|0\.0\.0\.0|localhost\.localdomain|localhost[46](?:\..*)?"
    r"|ip6-(?:localhost|loopback|localnet|mcastprefix|allnodes|allrouters|allhosts))$"
)
_QUOTED = 120
_LOOKED_AT = 100


class RawEntry(RawRecord):
    """A line of a list, as delivered; a line of a hosts file is an entry for each name."""

    entry: pl.String = field("The indicator.")
    score: pl.String | None = field("The number behind it, such as IPsum's.", nullable=True)
    note: pl.String | None = field("The comment behind it.", nullable=True)


class ListedRecord(IndicatorRecord):
    """An indicator that stood in a list's snapshot of a day, typed and canonical."""

    indicator: pl.String = field("The indicator in canonical form.", source="entry")
    raw_value: pl.String = field("The indicator as delivered.", source="entry")
    indicator_type: pl.String = field(
        "What it is: as it looks, for the list does not say.",
        source="entry",
        isin=_KINDS,
        nullable=True,
    )
    first_seen: Instant = field("The snapshot's day: the list says nothing of the time before.")
    score: pl.Int64 = field("The list's own number of it.", source="score", nullable=True, ge=0)
    note: pl.String = field("The list's comment on it.", source="note", nullable=True)

    class Config:
        """A record stands in a body once."""

        unique = ["day", "record_id", "known_from"]


class ListDay(pa.DataFrameModel):
    """A list's snapshot of a day in numbers."""

    day: pl.Date = field("Day of the snapshot (UTC).")
    entries: pl.Int64 = field("Entries at the end of the day.", ge=1)
    indicators: pl.Int64 = field("Distinct indicators.", ge=1)
    addresses: pl.Int64 = field("Of the indicators, IP addresses.", ge=0)
    ranges: pl.Int64 = field("Of the indicators, ranges of addresses.", ge=0)
    domains: pl.Int64 = field("Of the indicators, domains.", ge=0)
    highest_score: pl.Int64 = field("The list's highest number.", nullable=True)


def plain_list(
    *,
    name: str,
    url: str,
    title: str,
    description: str,
    homepage: str,
    licence: str,
    redistributable: bool,
    start: date,
    cadence: str,
    threat: str | None = None,
    derived_from: tuple[str, ...] = (),
    stale_after: timedelta | None = None,
    volume: VolumeRule | None = None,
    policy: HttpPolicy = POLICY,
    owner: str = "team:threat-intelligence",
    daily_sql: str | None = None,
) -> SourceSpec:
    """Make a source of a list.

    Args:
        name: The source's name, a slug.
        url: Where the list is.
        title: Its name for people.
        description: What stands in it.
        homepage: Where its makers tell of it.
        licence: Under which licence it is given.
        redistributable: Whether it may be passed on.
        start: The first day that it was published.
        cadence: When it is asked, as cron (UTC): more than once a day, for a missed day is lost.
        threat: What all its entries do, if they all do the same.
        derived_from: The sources or lists that it is made of.
        stale_after: How long it may stay the same before it is called stale.
        volume: When a snapshot is too small or too large.
        policy: How patiently its host is asked.
        owner: Who answers for it.
        daily_sql: The SELECT over `cleaned.<name>` that gives the columns of `ListDay`;
            that of alike/plain_list.sql, where it is named, if left out.
    """
    daily = f"{name}_daily"
    return SourceSpec(
        name=name,
        domain="threat",
        title=title,
        description=description,
        homepage=homepage,
        licence=licence,
        redistributable=redistributable,
        owner=owner,
        kind="state",
        look_back_days=0,
        start=start,
        window_days=1,
        cadence=cadence,
        late_days=0,
        volume=volume or VolumeRule(),
        stale_after=stale_after,
        derived_from=derived_from,
        policy=policy,
        code_version="2",
        extract=_extract(url),
        parse=parse,
        clean=_clean(threat),
        # An entry on two lines is two records unless the lines are equal.
        record_id=pl.when(pl.col("entry").is_unique()).then(pl.col("entry")),
        covers=whole_day,
        raw=Contract("raw", name, RawEntry, f"{title} as delivered, a snapshot a day."),
        cleaned=Contract("cleaned", name, ListedRecord, f"{title}, typed and canonical."),
        aggregates=(
            Aggregate(
                Contract("aggregated", daily, ListDay, f"{title} in numbers, by day."),
                daily_sql or derived_sql()[daily],
            ),
        ),
    )


def parse(document: Document) -> pl.LazyFrame:
    """Read a list: text only. The day is that of the snapshot.

    Raises:
        ParseError: If there is no entry in it, or it is a page. A list that is suddenly empty is
            not believed: it would withdraw everything.
    """
    if document.path is None:
        raise ValueError("a document without a body cannot be parsed")
    text = _text(document.path.read_bytes())
    first = next((line for line in text.split("\n") if line.strip()), "(an empty body)")
    if first.lstrip().startswith("<"):
        raise ParseError(f"line 1: this is a page and no list: {first[:_QUOTED]}")
    found = entries(text)
    if not (_has_indicator(found.head(_LOOKED_AT)) or _has_indicator(found)):
        raise ParseError(
            f"none of its {found.height} entries is an address, a range or a domain; "
            f"it begins with: {first[:_QUOTED]}"
        )
    return found.lazy().with_columns(day=pl.lit(day_of(document.fetch)))


def entries(text: str) -> pl.DataFrame:
    """Return the entries of a list with what stands behind each: `entry`, `score`, `note`."""
    line = pl.col("line")
    content = pl.DataFrame({"line": text.split("\n")}, schema={"line": pl.String}).select(
        line.str.strip_chars()
    )
    content = content.filter(line != "", ~line.str.contains(_COMMENT)).with_columns(
        note=line.str.extract(_NOTE).replace("", None), line=line.str.replace(_NOTE, "")
    )
    counted = line.str.extract_groups(_COUNTED).struct
    one = pl.concat_list(pl.coalesce(counted.field("1"), line))
    # `0.0.0.0 5` is an address with its count.
    hosts = line.str.extract(_HOSTS).is_not_null() & counted.field("1").is_null()
    names = line.str.extract(_HOSTS).str.extract_all(r"\S+")
    return (
        content.with_columns(
            score=counted.field("2"), entry=pl.when(hosts).then(names).otherwise(one), hosts=hosts
        )
        .explode("entry")
        .filter(~(pl.col("hosts") & pl.col("entry").str.contains(_OWN_NAMES)))
        .select("entry", "score", "note")
    )


def indicator(entry: pl.Expr) -> pl.Expr:
    """Bring an entry into canonical form: an address, a range or a domain; else null."""
    text = canonical.refang(entry)
    return pl.coalesce(
        canonical.ipv4(text), canonical.cidr(text), canonical.ipv6(text), canonical.domain(text)
    )


def _has_indicator(found: pl.DataFrame) -> bool:
    return bool(found.select(indicator(pl.col("entry")).is_not_null().any()).item())


def _text(body: bytes) -> str:
    wide = body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    # A comment in another encoding is no reason to be without a list.
    text = body.decode("utf-16" if wide else "utf-8-sig", errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _extract(url: str) -> Callable[[Context, Window], Iterator[Document]]:
    def extract(context: Context, window: Window) -> Iterator[Document]:
        """Ask for the list as it stands."""
        yield context.get(Request(url), window)

    return extract


def _clean(threat: str | None) -> Callable[[pl.LazyFrame], pl.LazyFrame]:
    def clean(raw: pl.LazyFrame) -> pl.LazyFrame:
        """Type and canonicalise. What is none of the kinds is null, and the contract rejects it."""
        found = indicator(pl.col("entry"))
        return describe(
            raw,
            indicator=found,
            indicator_type=pl.when(found.str.contains("/", literal=True))
            .then(pl.lit("cidr"))
            .when(found.str.contains(":", literal=True))
            .then(pl.lit("ipv6"))
            .when(found.str.contains(r"^[0-9.]+$"))
            .then(pl.lit("ipv4"))
            .when(found.is_not_null())
            .then(pl.lit("domain")),
            raw_value=pl.col("entry"),
            first_seen=pl.col("day").cast(INSTANT),
            threat=pl.lit(threat, pl.String),
            score=pl.col("score").cast(pl.Int64, strict=False),
        )

    return clean
