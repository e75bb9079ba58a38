"""MISP feeds: any folder of events as MISP publishes it, by its address.

`manifest.json` names the events with the time of their last change; each event is a file. What is
asked for hangs on what raw holds of each event, and never on one time for all: an event that was
synchronised late, with an old time, is found. A day is that of the event.
https://www.circl.lu/doc/misp/feed-osint/
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandera.polars as pa
import polars as pl

from intel_assets.clock import start_of
from intel_assets.errors import ParseError
from intel_assets.ingest import json_records
from intel_assets.ingest.documents import Document, Window
from intel_assets.ingest.messages import HttpPolicy, Request
from intel_assets.lakehouse.contracts import Contract, Instant, RawRecord, Texts, field
from intel_assets.sources.spec import (
    Aggregate,
    Context,
    Interval,
    SourceSpec,
    Span,
    VolumeRule,
)
from intel_assets.threat import canonical
from intel_assets.threat.model import IndicatorRecord, describe

POLICY = HttpPolicy(rate_per_second=10.0, burst=5, max_bytes=256 << 20)
OLDER_EVENTS = 20
"""Events from before the window that are taken along in one pass: those that came late."""

_COLUMNS = ("event_uuid", "uuid", "type", "value", "event_date", "event_timestamp")
_KINDS = {
    "ip-src": "address",
    "ip-dst": "address",
    "ip-src|port": "address",
    "ip-dst|port": "address",
    "domain": "name",
    "domain|ip": "name",
    "hostname": "name",
    "hostname|port": "name",
    "url": "url",
    "uri": "uri",
    "link": None,
    "email": "email",
    "email-src": "email",
    "email-dst": "email",
    "md5": "digest",
    "sha1": "digest",
    "sha256": "digest",
    "sha384": "digest",
    "sha512": "digest",
    "filename|md5": "digest",
    "filename|sha1": "digest",
    "filename|sha256": "digest",
    "filename|sha384": "digest",
    "filename|sha512": "digest",
    "imphash": "imphash",
    "ja3-fingerprint-md5": "ja3",
    "vulnerability": "cve",
    "filename": "filename",
    "mutex": "mutex",
    "yara": "yara",
}
_SECOND = ("filename|md5", "filename|sha1", "filename|sha256", "filename|sha384", "filename|sha512")
_PLAIN = ("uri", "imphash", "ja3", "filename", "mutex", "yara")
_TLP = {
    "tlp:white": "clear",
    "tlp:clear": "clear",
    "tlp:green": "green",
    "tlp:amber": "amber",
    "tlp:amber+strict": "amber+strict",
    "tlp:red": "red",
}


class RawAttribute(RawRecord):
    """An attribute of an event, as delivered, with what the event says."""

    event_uuid: pl.String = field("The event.")
    event_date: pl.String = field("The event's day.")
    event_timestamp: pl.String = field("When the event was changed last, epoch seconds.")
    event_info: pl.String | None = field("What the event is about.", nullable=True)
    event_tags: pl.String | None = field("The event's tags, a JSON list.", nullable=True)
    threat_level_id: pl.String | None = field("1 high to 4 undefined.", nullable=True)
    orgc: pl.String | None = field("Who made the event.", nullable=True)
    object_name: pl.String | None = field("The object that it is part of.", nullable=True)
    uuid: pl.String = field("The attribute.")
    type: pl.String = field("MISP's type.")
    category: pl.String | None = field("MISP's category.", nullable=True)
    value: pl.String = field("The value; two with `|` between them for a composite type.")
    to_ids: pl.String | None = field("Whether it is meant for detection.", nullable=True)
    comment: pl.String | None = field("What is said of it.", nullable=True)
    deleted: pl.String | None = field("Whether it was taken back.", nullable=True)
    timestamp: pl.String | None = field("When it was changed last.", nullable=True)
    first_seen: pl.String | None = field("When it was first seen.", nullable=True)
    last_seen: pl.String | None = field("When it was last seen.", nullable=True)
    tags: pl.String | None = field("The attribute's tags, a JSON list.", nullable=True)


class AttributeRecord(IndicatorRecord):
    """An attribute of an event, typed and canonical."""

    indicator: pl.String = field("The value that detects, in canonical form.", source="value")
    raw_value: pl.String = field("The value as delivered.", source="value")
    indicator_type: pl.String = field("What it is.", source="type")
    first_seen: Instant = field(
        "When it was first seen; when it was changed last where nobody says.", source="first_seen"
    )
    last_seen: Instant = field("When it was last seen.", source="last_seen", nullable=True)
    threat: pl.String = field("What the event is about.", source="event_info", nullable=True)
    tags: Texts = field("Tags of the event and of the attribute.", source="tags", nullable=True)
    detect: pl.Boolean = field("MISP's to_ids, and not deleted.", source="to_ids")
    event_uuid: pl.String = field("The event.", source="event_uuid")
    event_info: pl.String = field("What the event is about.", source="event_info", nullable=True)
    threat_level: pl.Int32 = field(
        "1 high, 2 medium, 3 low, 4 undefined.",
        source="threat_level_id",
        nullable=True,
        ge=1,
        le=4,
    )
    category: pl.String = field("MISP's category.", source="category", nullable=True)
    misp_type: pl.String = field("MISP's type.", source="type")
    port: pl.Int32 = field("The port of an `ip|port`.", source="value", nullable=True)
    comment: pl.String = field("What is said of it.", source="comment", nullable=True)
    deleted: pl.Boolean = field("Whether it was taken back.", source="deleted")

    class Config:
        """A record stands in a body's day once."""

        unique = ["day", "record_id", "known_from"]


class MispDay(pa.DataFrameModel):
    """A day of a MISP feed in numbers."""

    day: pl.Date = field("Day of the events (UTC).")
    attributes: pl.Int64 = field("Attributes that are indicators.", ge=1)
    indicators: pl.Int64 = field("Distinct indicators.", ge=1)
    events: pl.Int64 = field("Events.", ge=1)
    detecting: pl.Int64 = field("Attributes that are meant for detection.", ge=0)


def misp_feed(
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
    trust: int = 60,
    derived_from: tuple[str, ...] = (),
    policy: HttpPolicy = POLICY,
    owner: str = "team:threat-intelligence",
    daily_sql: str | None = None,
) -> SourceSpec:
    """Make a source of a MISP feed.

    Args:
        name: The source's name, a slug.
        url: The feed's folder, without `manifest.json`.
        title: Its name for people.
        description: What stands in it.
        homepage: Where its makers tell of it.
        licence: Under which licence it is given.
        redistributable: Whether it may be passed on.
        start: The day of its first event.
        cadence: When it is asked, as cron (UTC).
        trust: How sure its listing an indicator makes, 0 to 100.
        derived_from: The sources that it repeats.
        policy: How patiently its host is asked.
        owner: Who answers for it.
        daily_sql: The SELECT over `cleaned.<name>` that gives the columns of `MispDay`;
            `sql/<name>_daily.sql` if left out.
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
        kind="event",
        look_back_days=None,
        start=start,
        window_days=30,
        cadence=cadence,
        late_days=14,
        # Some days have ten events, most none.
        volume=VolumeRule(collapse=0.0, burst=1_000.0),
        derived_from=derived_from,
        trust=trust,
        policy=policy,
        extract=_extract(url.rstrip("/")),
        parse=parse,
        clean=clean,
        record_id=pl.col("uuid"),
        covers=covers,
        scope="event_uuid",
        # Attributes of many types are no indicators: they stand in quarantine, and refuse nothing.
        refuse_share=1.0,
        raw=Contract("raw", name, RawAttribute, f"Attributes of {title} as delivered."),
        cleaned=Contract("cleaned", name, AttributeRecord, f"Attributes of {title}, typed."),
        aggregates=(
            Aggregate(
                Contract("aggregated", daily, MispDay, f"{title} in numbers, by day."),
                daily_sql
                or files("intel_assets.threat").joinpath(f"sql/{daily}.sql").read_text("utf-8"),
            ),
        ),
    )


def _extract(url: str) -> Callable[[Context, Window], Iterator[Document]]:
    def extract(context: Context, window: Window) -> Iterator[Document]:
        """Ask for the manifest, and for the events in it that raw does not hold as they are now.

        The manifest comes last: it answers the window, once all that it names there is here.
        """
        manifest = context.get(Request(f"{url}/manifest.json"), window, conditional=False)
        held = context.held("event_uuid", "event_timestamp").unique("event_uuid")
        known = dict(held.select("event_uuid", "event_timestamp").iter_rows())
        for uuid in wanted(_manifest(manifest.path), known, window):
            document = context.get(Request(f"{url}/{uuid}.json"), window)
            yield document.answering(None, None)
        end = start_of(window.last + timedelta(days=1))
        yield manifest.answering(start_of(window.first), end)

    return extract


def wanted(
    manifest: Mapping[str, Mapping[str, Any]], known: Mapping[str, str], window: Window
) -> list[str]:
    """Return which events to ask for, the oldest first.

    Args:
        manifest: What the feed has: each event's `date` and `timestamp`.
        known: The timestamp of each event that is held.
        window: The days asked for.
    """
    dated = {
        uuid: date.fromisoformat(str(told.get("date"))[:10]) for uuid, told in manifest.items()
    }
    new = [uuid for uuid in manifest if uuid not in known]
    changed = [
        uuid
        for uuid, told in manifest.items()
        if uuid in known and str(told.get("timestamp")) != known[uuid]
    ]
    inside = [uuid for uuid in new if dated[uuid] in window]
    late = [uuid for uuid in new if dated[uuid] < window.first]
    late.sort(key=lambda uuid: dated[uuid], reverse=True)
    # What is held is asked for again when it changed, whatever its day: nobody else would.
    found = {*inside, *changed, *late[:OLDER_EVENTS]}
    return sorted(found, key=lambda uuid: (dated[uuid], uuid))


def parse(document: Document) -> pl.LazyFrame:
    """Read an event, or events as MISP exports them; a manifest has no records."""
    if document.path is None:
        raise ValueError("a document without a body cannot be parsed")
    whole = json_records.load(document.path)
    rows = [row for event in _events(whole) for row in _rows(event)]
    empty = {"day": pl.Date} | dict.fromkeys(_COLUMNS, pl.String)
    if not rows:
        return pl.LazyFrame(schema=empty)
    day = pl.col("event_date").str.to_date("%Y-%m-%d", strict=False)
    return json_records.frame(rows, _COLUMNS).with_columns(day=day)


def _events(whole: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(whole, list):
        for one in whole:
            yield from _events(one)
    elif isinstance(whole, Mapping) and "response" in whole:
        yield from _events(whole["response"])
    elif isinstance(whole, Mapping) and "Event" in whole:
        yield whole["Event"]
    elif isinstance(whole, Mapping) and "Attribute" in whole:
        yield whole
    elif not isinstance(whole, Mapping) or not all(
        isinstance(told, Mapping) and "timestamp" in told for told in whole.values()
    ):
        raise ParseError(f"line 1: this is neither an event nor a manifest: {str(whole)[:120]}")


def _rows(event: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    told = {
        "event_uuid": str(event.get("uuid")),
        "event_date": str(event.get("date"))[:10],
        "event_timestamp": str(event.get("timestamp")),
        "event_info": event.get("info"),
        "event_tags": [tag.get("name") for tag in event.get("Tag", [])],
        "threat_level_id": event.get("threat_level_id"),
        "orgc": (event.get("Orgc") or {}).get("name"),
    }
    yield from (_row(one, told, None) for one in event.get("Attribute", []))
    for group in event.get("Object", []):
        yield from (_row(one, told, group.get("name")) for one in group.get("Attribute", []))


def _row(
    attribute: Mapping[str, Any], told: Mapping[str, Any], group: str | None
) -> dict[str, Any]:
    names = (
        "uuid",
        "type",
        "category",
        "value",
        "to_ids",
        "comment",
        "deleted",
        "timestamp",
        "first_seen",
        "last_seen",
    )
    own = {name: attribute.get(name) for name in names}
    tags = [tag.get("name") for tag in attribute.get("Tag", [])]
    return {**told, **own, "object_name": group, "tags": tags}


def _manifest(path: Path | None) -> Mapping[str, Mapping[str, Any]]:
    try:
        found = json.loads(path.read_bytes()) if path else {}
    except ValueError as error:
        raise ParseError(f"the manifest is cut off or no JSON: {error}") from None
    if not isinstance(found, Mapping):
        raise ParseError(f"line 1: this is no manifest: {str(found)[:120]}")
    return found


def covers(document: Document, span: Span) -> Interval | None:
    """An event speaks of its day; a manifest of the days that it was asked for."""
    if span.first is not None and span.last is not None:
        return start_of(span.first.date()), start_of(span.last.date() + timedelta(days=1))
    window = document.fetch.window
    return start_of(window.first), start_of(window.last + timedelta(days=1))


def clean(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Type and canonicalise by MISP's type; of a composite the part that detects is taken."""
    kind = pl.col("type").replace_strict(_KINDS, default=None, return_dtype=pl.String)
    parts = pl.col("value").str.splitn("|", 2).struct
    two = pl.col("type").str.contains("|", literal=True)
    second = pl.col("type").is_in(_SECOND)
    part = (
        pl.when(~two)
        .then(pl.col("value"))
        .when(second)
        .then(parts.field("field_1"))
        .otherwise(parts.field("field_0"))
    )
    other = canonical.address(parts.field("field_1"))
    text = part.str.strip_chars()
    address, digest = canonical.address(part), canonical.digest(part)
    tags = pl.concat_list(
        json_records.texts("event_tags").fill_null([]), json_records.texts("tags").fill_null([])
    )
    scopes = tags.list.eval(
        pl.element().str.to_lowercase().replace_strict(_TLP, default=None, return_dtype=pl.String)
    ).list.drop_nulls()
    deleted = pl.col("deleted").fill_null("false") == "true"
    changed = pl.from_epoch(pl.col("timestamp").cast(pl.Int64, strict=False), "s")
    return describe(
        raw,
        indicator=pl.when(kind == "address")
        .then(pl.coalesce(address, canonical.cidr(part)))
        .when(kind == "name")
        .then(canonical.domain(canonical.refang(part)))
        .when(kind == "url")
        .then(canonical.urls(part).struct.field("url"))
        .when(kind == "email")
        .then(canonical.email(part))
        .when(kind == "digest")
        .then(digest)
        .when(kind == "cve")
        .then(canonical.cve(part))
        .when(kind.is_in(_PLAIN) & (text != ""))
        .then(text),
        indicator_type=pl.when(kind == "address")
        .then(canonical.address_type(address).fill_null("cidr"))
        .when(kind == "name")
        .then(pl.lit("domain"))
        .when(kind == "digest")
        .then(canonical.digest_type(digest))
        .otherwise(kind),
        raw_value=pl.col("value"),
        first_seen=pl.coalesce(
            _moment("first_seen"), changed.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        ),
        last_seen=_moment("last_seen"),
        threat=pl.col("event_info"),
        tags=pl.when(tags.list.len() > 0).then(tags.list.unique(maintain_order=True)),
        tlp=scopes.list.first(),
        also=pl.when((pl.col("type") == "domain|ip") & other.is_not_null()).then(
            pl.concat_list(pl.concat_str(canonical.address_type(other), pl.lit(":"), other))
        ),
        detect=(pl.col("to_ids").fill_null("false") == "true") & ~deleted,
        threat_level=pl.col("threat_level_id").cast(pl.Int32, strict=False),
        misp_type=pl.col("type"),
        port=pl.when(pl.col("type").str.ends_with("|port")).then(
            parts.field("field_1").cast(pl.Int32, strict=False)
        ),
        deleted=deleted,
    )


def _moment(name: str) -> pl.Expr:
    found = pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%z", time_unit="us", strict=False)
    return found.dt.convert_time_zone("UTC")


def value_digests(path: Path) -> pl.DataFrame:
    """Read `hashes.csv` of a feed: the MD5 of each value, and the event that holds it.

    Returns:
        Columns `md5` and `event_uuid`.
    """
    return pl.read_csv(path, has_header=False, new_columns=["md5", "event_uuid"])
