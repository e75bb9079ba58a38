"""MISP's warninglists: what stands in feeds by mistake, or means little. A reference, by list.

Each list is a file of its own; all of them together are the snapshot of a day. What a list means
for an indicator is said by `aggregated.warninglist_hits`.
https://github.com/MISP/misp-warninglists
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from importlib.resources import files
from typing import Any

import pandera.polars as pa
import polars as pl

from intel_assets.clock import start_of
from intel_assets.errors import ParseError
from intel_assets.ingest import json_records
from intel_assets.ingest.documents import Document, Window
from intel_assets.ingest.messages import HttpPolicy, Request
from intel_assets.lakehouse.contracts import Contract, RawRecord, Record, Texts, field
from intel_assets.sources.snapshots import day_of, whole_day
from intel_assets.sources.spec import Aggregate, Context, SourceSpec
from intel_assets.threat import canonical

FILE = "https://raw.githubusercontent.com/MISP/misp-warninglists/main/lists/{name}/list.json"
LISTS = (
    "akamai",
    "automated-malware-analysis",
    "cloudflare",
    "common-ioc-false-positive",
    "disposable-email",
    "empty-hashes",
    "fastly",
    "google",
    "googlebot",
    "lots-project",
    "microsoft-office365",
    "multicast",
    "parking-domain",
    "public-dns-v4",
    "public-dns-v6",
    "public-ipfs-gateways",
    "rfc1918",
    "rfc5735",
    "rfc6598",
    "rfc6761",
    "security-provider-blogpost",
    "sinkholes",
    "tlds",
    "url-shortener",
)
MATCHES = ("cidr", "string", "substring", "hostname", "regex")
_COLUMNS = ("list", "title", "type", "value")
_TYPES = {
    "ip-src": ("ipv4", "ipv6", "cidr"),
    "ip-dst": ("ipv4", "ipv6", "cidr"),
    "domain": ("domain", "hostname"),
    "hostname": ("domain", "hostname"),
    "url": ("url",),
    "uri": ("url", "uri"),
    "email-src": ("email",),
    "email-dst": ("email",),
    "md5": ("md5",),
    "sha1": ("sha1",),
    "sha256": ("sha256",),
    "sha384": ("sha384",),
    "sha512": ("sha512",),
}


class RawEntry(RawRecord):
    """An entry of a list, as delivered, with what the list says of itself."""

    list: pl.String = field("The list: the folder that it stands in.")
    title: pl.String = field("The list's name for people.")
    type: pl.String = field("How its entries are compared.")
    value: pl.String = field("The entry.")
    description: pl.String | None = field("What the list is.", nullable=True)
    version: pl.String | None = field("The list's version.", nullable=True)
    matching_attributes: pl.String | None = field(
        "MISP's types that it is meant for, a JSON list.", nullable=True
    )


class WarningRecord(Record):
    """An entry of a list, in a form that can be compared."""

    list: pl.String = field("The list.", source="list")
    list_title: pl.String = field("The list's name for people.", source="title")
    match: pl.String = field("How its entries are compared.", source="type", isin=MATCHES)
    value: pl.String = field("The entry in canonical form.", source="value")
    first_address: pl.String = field(
        "The first address of a range, 32 hexadecimals (IPv4 as ::ffff:…).",
        source="value",
        nullable=True,
    )
    last_address: pl.String = field(
        "The last address of a range, as the first.", source="value", nullable=True
    )
    matching_types: Texts = field(
        "The types of indicators that it is meant for.", source="matching_attributes"
    )
    version: pl.String = field("The list's version.", source="version", nullable=True)

    class Config:
        """An entry stands in a list once."""

        unique = ["day", "record_id", "known_from"]


class WarninglistsDay(pa.DataFrameModel):
    """A list in a day's snapshot, in numbers."""

    day: pl.Date = field("Day of the snapshot (UTC).")
    list: pl.String = field("The list.")
    match: pl.String = field("How its entries are compared.")
    entries: pl.Int64 = field("Entries.", ge=1)
    version: pl.String = field("The list's version.", nullable=True)


def extract(context: Context, window: Window) -> Iterator[Document]:
    """Ask for each list; the last one answers the day."""
    for name in LISTS:
        document = context.get(Request(FILE.format(name=name)), window)
        if name == LISTS[-1]:
            day = day_of(document.fetch)
            yield document.answering(start_of(day), start_of(day + timedelta(days=1)))
        else:
            yield document.answering(None, None)


def parse(document: Document) -> pl.LazyFrame:
    """Read a list.

    Raises:
        ParseError: If it is none, or is empty.
    """
    if document.path is None:
        raise ValueError("a document without a body cannot be parsed")
    found = json_records.load(document.path)
    if not isinstance(found, Mapping) or not found.get("list") or "type" not in found:
        raise ParseError(f"line 1: this is no warninglist: {str(found)[:120]}")
    told = {
        "list": _name(document.fetch.url, found),
        "title": found.get("name", ""),
        "type": found["type"],
        "description": found.get("description"),
        "version": found.get("version"),
        "matching_attributes": found.get("matching_attributes", []),
    }
    rows = [told | {"value": value} for value in found["list"]]
    day = pl.lit(day_of(document.fetch))
    return json_records.frame(rows, _COLUMNS).with_columns(day=day)


def _name(url: str, found: Mapping[str, Any]) -> str:
    """Return a list's name: its folder, or of a file that was carried over the file's."""
    parts = url.split("?")[0].rstrip("/").split("/")
    if parts[-1] == "list.json" and len(parts) > 1:
        return parts[-2]
    return parts[-1].removesuffix(".gz").removesuffix(".json") or str(found.get("name"))


def clean(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Bring entries into forms that indicators can be compared with."""
    value = pl.col("value").str.strip_chars()
    lower = value.str.to_lowercase()
    kind = pl.col("type")
    ranges = pl.coalesce(canonical.cidr(value), canonical.address(value))
    canonical_value = (
        pl.when(kind == "cidr")
        .then(ranges)
        .when(kind == "hostname")
        .then(lower.str.strip_chars("."))
        .when(kind.is_in(["string", "substring"]))
        .then(lower)
        .otherwise(value)
        .replace("", None)
    )
    return raw.with_columns(
        list_title=pl.col("title"), match=kind, value=canonical_value
    ).with_columns(
        canonical.bounds(pl.when(pl.col("match") == "cidr").then(pl.col("value"))).struct.unnest(),
        matching_types=pl.col("matching_attributes")
        .fill_null("[]")
        .map_elements(_types, return_dtype=pl.List(pl.String)),
    )


def _types(attributes: str) -> list[str]:
    named = json.loads(attributes)
    return sorted({kind for name in named for kind in _TYPES.get(name, ())})


SPEC = SourceSpec(
    name="warninglists",
    domain="threat",
    title="MISP warninglists",
    description="Lists of what stands in feeds by mistake: public resolvers, content networks, …",
    homepage="https://github.com/MISP/misp-warninglists",
    licence="CC0 1.0",
    redistributable=True,
    owner="team:threat-intelligence",
    kind="state",
    look_back_days=0,
    start=date(2016, 3, 1),
    window_days=1,
    cadence="15 4,16 * * *",
    late_days=0,
    policy=HttpPolicy(rate_per_second=20.0, burst=4, max_bytes=256 << 20),
    extract=extract,
    parse=parse,
    clean=clean,
    record_id=pl.col("list") + "/" + pl.col("value"),
    covers=whole_day,
    scope="list",
    raw=Contract("raw", "warninglists", RawEntry, "MISP's warninglists as delivered, by day."),
    cleaned=Contract("cleaned", "warninglists", WarningRecord, "Entries that can be compared."),
    aggregates=(
        Aggregate(
            Contract("aggregated", "warninglists_daily", WarninglistsDay, "The lists by day."),
            files("intel_assets.threat").joinpath("sql/warninglists_daily.sql").read_text("utf-8"),
        ),
    ),
)
