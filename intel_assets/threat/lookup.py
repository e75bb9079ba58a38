"""Looking an indicator up: what all feeds say of it, and of what it lies in.

Takes what people paste. Imports neither Dagster nor Pandera, so that the command answers at once.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import polars as pl

from intel_assets.lakehouse.extensions import literal
from intel_assets.lakehouse.views import TableName
from intel_assets.threat import canonical

_EDGES = " \t\r\n\"'`<>()[]{},;"
_SPLIT = re.compile(r"[\s,;|]+")
LOOKUPS = ("abuseipdb_check", "greynoise", "virustotal")
"""The sources that are asked of single indicators (`intel enrich`)."""

HELD = (TableName("aggregated", "indicator_parts"),)
"""The tables that whoever looks up often connects with as `held`."""

MOST_URLS = 5
"""URLs at a host that are told one by one."""

_TIMELINE = ("source", "first_day", "last_day", "days", "gone_on")
_TOLD = (
    "indicator",
    "indicator_type",
    "day AS asked_on",
    "confidence",
    "threat",
    "malware",
    "tags",
    "last_seen",
    "reference",
)
_COLUMNS = (
    "indicator",
    "indicator_type",
    "status",
    "confidence",
    "evidence",
    "decay",
    "first_seen",
    "last_seen",
    "first_reporter",
    "sources",
    "threats",
    "malware",
    "tags",
    "tlp",
    "reserved",
    "suppressed",
    "suppressed_by",
    "suppression_reason",
    "listings",
)


@dataclass(frozen=True)
class Asked:
    """What was asked for.

    Attributes:
        text: As it was pasted.
        indicator: In canonical form; None if it is no indicator.
        kind: What it looks like.
    """

    text: str
    indicator: str | None
    kind: str | None


@dataclass(frozen=True)
class Hit:
    """An indicator that is known.

    Attributes:
        relation: `itself`; what the value lies in: `range`, `parent`, `host`; or `url`, which lies
            at the value.
        facts: Its row of `aggregated.indicators`.
        timeline: When feeds told of it: `source, first_day, last_day, days, gone_on`; a row for
            each feed, or for each of its unbroken stretches.
    """

    relation: str
    facts: dict[str, Any]
    timeline: list[dict[str, Any]]


@dataclass(frozen=True)
class Answer:
    """What is known of a value.

    Attributes:
        asked: What was asked for.
        hits: What feeds tell of it, of what it lies in, and of the surest URLs that lie at it.
        more_urls: How many URLs lie at it besides.
        answers: What sources answered that were asked of it alone (`told_of`).
    """

    asked: Asked
    hits: list[Hit] = field(default_factory=list)
    more_urls: int = 0
    answers: list[dict[str, Any]] = field(default_factory=list)


def words(text: str) -> list[str]:
    """Divide pasted text into what may be indicators, each once, in order."""
    found = (one.lstrip(_EDGES).rstrip(_EDGES + ".!?") for one in _SPLIT.split(text))
    return list(dict.fromkeys(one for one in found if one))


def recognise(text: str) -> Asked:
    """Say what a pasted value is, in canonical form.

    A URL that is not in one piece any more (`hxxp`, `[.]`) is mended; a port is cut off an address.
    """
    # Step by step: an expression that repeats the one before takes as often as long.
    frame = pl.DataFrame({"value": [text.strip(_EDGES)]}).with_columns(clean=_CLEAN)
    for looks_like, form, kind in _FORMS:
        if looks_like.search(text):
            found = frame.select(form).item()
            if found:
                return Asked(text, found, kind(found))
    for name in (pl.col("clean"), pl.col("clean").str.replace(r":[0-9]{1,5}$", "")):
        hosts = frame.select(canonical.host(name.str.strip_chars()).alias("host"))
        found = hosts.select(canonical.if_domain(pl.col("host"))).item()
        if found:
            return Asked(text, found, "hostname")
    return Asked(text, None, None)


def _of_address(found: str) -> str:
    return "cidr" if "/" in found else "ipv6" if ":" in found else "ipv4"


def _of_digest(found: str) -> str:
    return {32: "md5", 40: "sha1", 64: "sha256", 96: "sha384", 128: "sha512"}[len(found)]


_VALUE = pl.col("value")
_CLEAN = canonical.refang(_VALUE)
_FORMS: tuple[tuple[re.Pattern[str], pl.Expr, Callable[[str], str]], ...] = (
    # The quickest first, and none that cannot be: one of them takes longer than a look-up.
    (re.compile("^[^/]*/[^/]*$"), canonical.cidr(pl.col("clean")), _of_address),
    (re.compile("^[^/]*$"), canonical.address(_VALUE), _of_address),
    (
        re.compile("^[^/]*:[^/]*$"),
        canonical.address_and_port(_VALUE).struct.field("address"),
        _of_address,
    ),
    (re.compile("[0-9a-fA-F]{32}"), canonical.digest(_VALUE), _of_digest),
    (re.compile("(?i)cve"), canonical.cve(_VALUE), lambda _: "cve"),
    (re.compile("(?i)^(?!.*//).*(?:@|at)"), canonical.email(_VALUE), lambda _: "email"),
    (re.compile("/"), canonical.urls(_VALUE).struct.field("url"), lambda _: "url"),
)
"""What a value may be: what it must hold for that, its canonical form, and what that is."""


def look_up(
    connection: duckdb.DuckDBPyConnection,
    text: str,
    enriched: Sequence[str] = (),
    *,
    stretches: bool = False,
) -> Answer:
    """Tell everything that is known of a value, and of what it lies in.

    Args:
        connection: Of a `Catalog`: now, or as of a moment.
        text: The value, as it was pasted.
        enriched: Of `LOOKUPS`, those that have a table.
        stretches: Whether the timeline has a row for each time that a feed began to tell of it.
    """
    asked = recognise(text)
    if asked.indicator is None:
        return Answer(asked)
    wanted = dict(_around(asked))
    host = asked.indicator if asked.kind in ("hostname", "ipv4", "ipv6") else None
    # Most of what a value may lie in is nowhere: one look at a few columns tells.
    places = _select(connection, "DISTINCT bucket, place", "indicator_parts", wanted)
    known = {name: kind for name, kind in wanted.items() if (_bucket(name), _place(name)) in places}
    found = _select(connection, ", ".join(_COLUMNS), "indicators", known) if known else []
    rows = [dict(zip(_COLUMNS, row, strict=True)) for row in found]
    hits = [
        _hit(wanted, row)
        for row in sorted(rows, key=lambda row: (-row["confidence"], row["indicator"]))
        if row["indicator"] in wanted
        or (row["indicator_type"] == "url" and _place(row["indicator"]) == host)
    ]
    hits.sort(key=lambda hit: (hit.relation != "itself", hit.relation == "url"))
    others = sum(hit.relation != "url" for hit in hits)
    more = max(0, len(hits) - others - MOST_URLS)
    del hits[others + MOST_URLS :]
    if stretches:
        for hit in hits:
            hit.timeline[:] = _stretches(connection, hit)
    return Answer(asked, hits, more, told_of(connection, [asked], enriched))


def _select(
    connection: duckdb.DuckDBPyConnection, columns: str, table: str, names: Iterable[str]
) -> list[tuple[Any, ...]]:
    """Return what stands at the places of indicators: of ten million, DuckDB reads a few pages."""
    buckets, places = ({literal(of(name)) for name in names} for of in (_bucket, _place))
    return connection.execute(
        f"SELECT {columns} FROM aggregated.{table} "  # noqa: S608 (quoted)
        f"WHERE bucket IN ({', '.join(buckets)}) AND place IN ({', '.join(places)})"
    ).fetchall()


def _hit(wanted: Mapping[str, str], facts: dict[str, Any]) -> Hit:
    told = sorted(facts.pop("listings"), key=lambda one: (one["first_day"], one["source"]))
    timeline = [{key: one[key] for key in _TIMELINE} for one in told]
    return Hit(wanted.get(facts["indicator"], "url"), facts, timeline)


def _place(indicator: str) -> str:
    """Return where an indicator is found: as sql/indicator_parts.sql says."""
    found = re.match(r"[a-z0-9+.-]+://(?:[^/?#]*@)?(\[[^]]*\]|[^/:?#]*)", indicator)
    return found[1].strip("[]") if found else indicator


_RANGE = re.compile(r"[0-9a-f.:]+/[0-9]+")


def _bucket(indicator: str) -> str:
    if _RANGE.fullmatch(indicator):
        return "ranges"
    return hashlib.sha256(_place(indicator).encode()).hexdigest()[0]


def told_of(
    connection: duckdb.DuckDBPyConnection, asked: Sequence[Asked], sources: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the newest answers of sources that are asked of single indicators.

    Args:
        connection: Of a `Catalog`.
        asked: The indicators; a file is found by any of its hashes.
        sources: The sources; each has a table.
    """
    if not sources:
        return []
    # The names are ours; the values are bound.
    query = " UNION ALL ".join(
        f"SELECT '{source}' AS source, {', '.join(_TOLD)} FROM cleaned.{source} "  # noqa: S608
        "WHERE list_contains($names, indicator) OR list_has_any(also, $typed) "
        "QUALIFY row_number() OVER (PARTITION BY indicator ORDER BY day DESC) = 1"
        for source in sources
    )
    names = [one.indicator for one in asked if one.indicator]
    typed = [f"{one.kind}:{one.indicator}" for one in asked if one.indicator]
    cursor = connection.execute(
        f"SELECT * FROM ({query}) ORDER BY indicator, source",  # noqa: S608
        {"names": names, "typed": typed},
    )
    columns = [column[0] for column in cursor.description or []]
    return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def _around(asked: Asked) -> Iterator[tuple[str, str]]:
    """Yield what a value may be listed as, and how that relates to it."""
    indicator = str(asked.indicator)
    host = indicator
    if asked.kind == "url":
        host = _place(indicator)
        yield host, "host"
    if asked.kind in ("hostname", "url"):
        parts = host.split(".")
        if not parts[-1].isdigit():
            yield from ((".".join(parts[n:]), "parent") for n in range(1, len(parts) - 1))
    try:
        net = ipaddress.ip_network(host)
    except ValueError:
        net = None
    if net is not None:
        shorter = range(net.prefixlen - (net.num_addresses > 1), -1, -1)
        for length in shorter:
            above = net.supernet(new_prefix=length)
            yield str(above), "range"
    yield indicator, "itself"


def _stretches(connection: duckdb.DuckDBPyConnection, hit: Hit) -> list[dict[str, Any]]:
    """Return when each feed told of an indicator: a row for each unbroken stretch."""
    cursor = connection.execute(
        """
        WITH told AS (
            SELECT
                source, day, change,
                sum((change IN ('added', 'back'))::INTEGER) OVER (
                    PARTITION BY source ORDER BY day
                ) AS stretch
            FROM aggregated.sightings
            WHERE indicator = $indicator AND day BETWEEN $first AND $last
        )
        SELECT
            source,
            min(day) AS first_day,
            max(day) FILTER (WHERE change <> 'gone') AS last_day,
            count(*) FILTER (WHERE change <> 'gone') AS days,
            max(day) FILTER (WHERE change = 'gone') AS gone_on
        FROM told
        GROUP BY source, stretch
        HAVING last_day IS NOT NULL
        ORDER BY first_day, source
        """,
        {
            "indicator": hit.facts["indicator"],
            "first": min(one["first_day"] for one in hit.timeline),
            "last": max(one["gone_on"] or one["last_day"] for one in hit.timeline),
        },
    )
    return [dict(zip(_TIMELINE, row, strict=True)) for row in cursor.fetchall()]
