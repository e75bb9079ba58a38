"""MISP feeds: any folder of events as MISP publishes it, by its address.

`manifest.json` names the events with the time of their last change; each event is a file. Whether
one is asked for hangs on which version of it came before, and never on one time for all: an event
that was synchronised late, with an old time, is found. A day is that of the event.
https://www.circl.lu/doc/misp/feed-osint/
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pandera.polars as pa
import polars as pl

from intel_assets.clock import start_of
from intel_assets.errors import IntelError, NotPublished, ParseError, UpstreamError
from intel_assets.ingest import json_records
from intel_assets.ingest.documents import Document, Window
from intel_assets.ingest.messages import HttpPolicy, Request
from intel_assets.lakehouse.catalog import derived_sql
from intel_assets.lakehouse.contracts import Contract, field
from intel_assets.sources.spec import Aggregate, Context, Interval, SourceSpec, Span, VolumeRule
from intel_assets.threat import misp_events
from intel_assets.threat.misp_events import AttributeRecord, RawAttribute

logger = logging.getLogger(__name__)

POLICY = HttpPolicy(rate_per_second=8.0, burst=8, max_bytes=256 << 20)
ELSEWHERE = 50
"""Events of other days that one pass takes along at most: those that changed or came late."""

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_EVER = datetime.min.replace(tzinfo=UTC)


class MispDay(pa.DataFrameModel):
    """A day of a MISP feed in numbers."""

    day: pl.Date = field("Day of the events (UTC).")
    attributes: pl.Int64 = field("Attributes that are indicators.", ge=1)
    indicators: pl.Int64 = field("Distinct indicators.", ge=1)
    events: pl.Int64 = field("Events.", ge=1)
    detecting: pl.Int64 = field("Attributes that are meant for detection.", ge=0)


@dataclass(frozen=True)
class Listed:
    """An event in a manifest.

    Attributes:
        day: The event's day; None where it cannot be read.
        version: When it was changed last, epoch seconds.
    """

    uuid: str
    day: date | None
    version: int


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
        start: The day of its first event; older ones are not asked for.
        cadence: When it is asked, as cron (UTC).
        trust: How sure its listing an indicator makes, 0 to 100.
        derived_from: The sources that it repeats.
        policy: How patiently its host is asked.
        owner: Who answers for it.
        daily_sql: The SELECT over `cleaned.<name>` that gives the columns of `MispDay`;
            that of alike/misp_feed.sql, where it is named, if left out.
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
        # So many days' events are asked for at once, each a file.
        window_days=30,
        cadence=cadence,
        late_days=14,
        # Some days have ten events, most none.
        volume=VolumeRule(collapse=0.0, burst=1_000.0),
        derived_from=derived_from,
        trust=trust,
        policy=policy,
        extract=_extract(url.rstrip("/"), start),
        parse=parse,
        clean=misp_events.clean,
        # An event may repeat another's attribute.
        record_id=pl.col("event_uuid") + "/" + pl.col("uuid"),
        event_time=misp_events.event_day(),
        covers=covers,
        scope="event_uuid",
        # Attributes of many types are no indicators: they stand in quarantine, and refuse nothing.
        refuse_share=1.0,
        code_version="2",
        raw=Contract("raw", name, RawAttribute, f"Attributes of {title} as delivered."),
        cleaned=Contract("cleaned", name, AttributeRecord, f"Attributes of {title}, typed."),
        aggregates=(
            Aggregate(
                Contract("aggregated", daily, MispDay, f"{title} in numbers, by day."),
                daily_sql or derived_sql()[daily],
            ),
        ),
    )


def _extract(url: str, start: date) -> Callable[[Context, Window], Iterator[Document]]:
    def extract(context: Context, window: Window) -> Iterator[Document]:
        """Ask for the manifest, and for the events in it that did not come as they are now.

        The manifest comes last: it answers the window, once all that it names there is here. An
        event that is not there or cannot be read keeps no other from coming.
        """
        manifest = context.get(Request(f"{url}/manifest.json"), window, conditional=False)
        events = listed(manifest.path)

        def is_here(event: Listed) -> bool:
            return context.received(_request(url, event), _EVER) is not None

        within, others = wanted(events, window, start, context.now.date(), is_here)
        places = _places(context) if within or others else {}
        problems: list[IntelError] = []
        for event in within:
            try:
                document, problem = _ask(context, url, event, places.get(event.uuid, ()))
                yield document
            except NotPublished as missing:
                problem = missing
            problems += [problem] if problem else []
        for event in others:
            try:
                document, problem = _ask(context, url, event, places.get(event.uuid, ()))
                yield document
            except NotPublished as missing:
                problem = missing
            except UpstreamError as error:
                logger.warning("%s", error)
                break
            # What is asked for in passing keeps no day open; the next pass asks again.
            if problem:
                logger.warning("%s", problem)
        if problems:
            raise problems[0]
        end = start_of(window.last + timedelta(days=1))
        yield manifest.answering(start_of(window.first), end)

    return extract


def _ask(
    context: Context, url: str, event: Listed, places: Collection[date]
) -> tuple[Document, IntelError | None]:
    """Ask for an event; say what is wrong with what came, if anything is.

    A cache may still give the version before. That is noted as what it is, so that the next pass
    asks again; if it comes once more, the manifest is what is wrong.
    """
    days = [day for day in (event.day, *places) if day] or [context.now.date()]
    got = context.get(_request(url, event), Window(min(days), max(days)))
    document = got.answering(None, None)
    if document.path is None:
        return document, None
    try:
        versions = [_number(one.get("timestamp")) for one in misp_events.events(document.path)]
    except ParseError as error:
        return document, error
    older = _request(url, event, f",{max(versions)}")
    if max(versions) >= event.version or context.received(older, _EVER) is not None:
        return document, None
    address = f"{document.fetch.url},{max(versions)}"
    return replace(document, fetch=replace(document.fetch, url=address)), None


def _request(url: str, event: Listed, note: str = "") -> Request:
    """Return the request for a version of an event: a fragment names it, and is never sent."""
    return Request(f"{url}/{event.uuid}.json#{event.version}{note}")


def _places(context: Context) -> Mapping[str, tuple[date, date]]:
    """Return the days on which raw holds something of each event: its day may be another now."""
    held = context.held("event_uuid").filter(pl.col("day") != date(1970, 1, 1))
    days = held.group_by("event_uuid").agg(first=pl.col("day").min(), last=pl.col("day").max())
    return {uuid: (first, last) for uuid, first, last in days.iter_rows()}


def wanted(
    events: Collection[Listed],
    window: Window,
    start: date,
    today: date,
    is_here: Callable[[Listed], bool],
) -> tuple[list[Listed], list[Listed]]:
    """Return which events to ask for: those of the window, the oldest first, and some others.

    The others are what changed or came late, the newest change first. They are taken along by a
    pass that reaches to today, so that one that fills old days asks for no more than these need.

    Args:
        events: What the feed has.
        window: The days asked for.
        start: The feed's first day.
        today: The present day.
        is_here: Whether an event came before as it is now.
    """
    within = [one for one in events if one.day and one.day in window and not is_here(one)]
    within.sort(key=lambda one: (one.day, one.uuid))
    if today not in window:
        return within, []
    # Asked in this order, and no further than needed: to ask of each takes its time.
    newest = sorted(events, key=lambda one: (one.version, one.uuid), reverse=True)
    others: list[Listed] = []
    for one in newest:
        inside = one.day is not None and (one.day in window or one.day < start)
        if not inside and not is_here(one):
            others.append(one)
        if len(others) == ELSEWHERE:
            break
    return within, others


def listed(path: Path | None) -> list[Listed]:
    """Read a manifest.

    Raises:
        ParseError: If it is none, or names no event: that would say that all days are empty.
    """
    found = json_records.load(path) if path else None
    told = found if isinstance(found, Mapping) else {}
    events = [
        Listed(uuid, _date(entry.get("date")), _number(entry.get("timestamp")))
        for uuid, entry in told.items()
        if _UUID.fullmatch(uuid) and isinstance(entry, Mapping)
    ]
    if not events:
        raise ParseError(f"line 1: this is no manifest of events: {str(found)[:120]}")
    return events


def _date(value: object) -> date | None:
    try:
        return date.fromisoformat(str(value)[:10])
    except ValueError:
        return None


def _number(value: object) -> int:
    text = str(value)
    return int(text) if re.fullmatch(r"[0-9]{1,12}", text) else 0


def parse(document: Document) -> pl.LazyFrame:
    """Read an event, or events as MISP exports them; a manifest has no records.

    Raises:
        ParseError: If it is neither.
    """
    if document.path is None:
        raise ValueError("a document without a body cannot be parsed")
    if urlsplit(document.fetch.url).path.endswith("manifest.json"):
        listed(document.path)  # One that cannot be read is refused.
        return json_records.frame([], misp_events.COLUMNS)
    rows = (row for one in misp_events.events(document.path) for row in misp_events.rows(one))
    return json_records.frame(rows, misp_events.COLUMNS)


def covers(document: Document, span: Span) -> Interval | None:
    """An event speaks of its day and of those on which it was held; a manifest of its window."""
    fetch = document.fetch
    days = [moment.date() for moment in (span.first, span.last) if moment]
    if fetch.outcome != "landed" or not days:
        days += [fetch.window.first, fetch.window.last]
    return start_of(min(days)), start_of(max(days) + timedelta(days=1))


def value_digests(path: Path) -> pl.DataFrame:
    """Read a feed's `hashes.csv`: the MD5 of each value, and an event that holds it.

    Returns:
        Columns `md5` and `event_uuid`.
    """
    schema = {"md5": pl.String, "event_uuid": pl.String}
    return pl.read_csv(path, has_header=False, schema=schema)


def events_with(digests: pl.DataFrame, value: str) -> list[str]:
    """Return the events of a feed that hold a value, without asking for any of them.

    Args:
        digests: As `value_digests` gives them.
        value: As the feed writes it; of a composite value, each part has a hash of its own.
    """
    digest = hashlib.md5(value.encode(), usedforsecurity=False).hexdigest()
    return digests.filter(pl.col("md5") == digest)["event_uuid"].unique().sort().to_list()
