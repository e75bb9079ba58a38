"""AlienVault OTX: pulses of people one follows, each with its indicators. An event feed by pages.

A pulse that is modified comes again with all its indicators; those that did not change fold as
unchanged, and one that is gone from its pulse is withdrawn. Pages are small, since larger ones time
out, and each is kept: a pass that broke off goes on where it was.
https://otx.alienvault.com/api
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import pandera.polars as pa
import polars as pl

from intel_assets.clock import start_of
from intel_assets.ingest import json_records
from intel_assets.ingest.documents import Document, Window
from intel_assets.ingest.messages import HttpPolicy, Request
from intel_assets.lakehouse.contracts import Contract, Instant, RawRecord, Texts, field
from intel_assets.sources.spec import Aggregate, Context, Interval, SourceSpec, Span, VolumeRule
from intel_assets.threat import canonical, otx_pages
from intel_assets.threat.model import IndicatorRecord, describe

KEY = "OTX_API_KEY"
API = "https://otx.alienvault.com/api/v1"
PAGE = 10
"""Pulses of a page: larger pages have timed out for months at a time."""
INDICATORS = 1_000
"""Indicators of a page of one pulse's: most lists are whole in one, which speaks of all."""
RESUMED = timedelta(hours=6)
"""For how long a pass that broke off is worth going on with."""

_DIGESTS = ("FileHash-MD5", "FileHash-SHA1", "FileHash-SHA256")
_KINDS = {
    "IPv4": "ipv4",
    "IPv6": "ipv6",
    "CIDR": "cidr",
    "domain": "domain",
    "hostname": "hostname",
    "URL": "url",
    "URI": "uri",
    "email": "email",
    "FileHash-PEHASH": "pehash",
    "FileHash-IMPHASH": "imphash",
    "FilePath": "filepath",
    "Mutex": "mutex",
    "CVE": "cve",
    "YARA": "yara",
}
_TLP = {
    "white": "clear",
    "clear": "clear",
    "green": "green",
    "amber": "amber",
    "amber+strict": "amber+strict",
    "red": "red",
}


class RawPulseIndicator(RawRecord):
    """An indicator in a pulse, as delivered, with what the pulse says."""

    part: pl.String = field("The pulse, and which part of a list that came in parts.")
    pulse_id: pl.String = field("The pulse.")
    id: pl.String = field("OTX's number of the indicator.")
    indicator: pl.String | None = field("The indicator.", nullable=True)
    type: pl.String | None = field("One of OTX's types.", nullable=True)
    created: pl.String | None = field(
        "When it was added to the pulse, UTC without saying so.", nullable=True
    )
    title: pl.String | None = field("Its title.", nullable=True)
    description: pl.String | None = field("What is said of it.", nullable=True)
    content: pl.String | None = field("The text of a rule.", nullable=True)
    is_active: pl.String | None = field("1, or 0 when it has expired.", nullable=True)
    expiration: pl.String | None = field("When it expires.", nullable=True)
    role: pl.String | None = field("What part it plays.", nullable=True)
    pulse_name: pl.String | None = field("The pulse's name.", nullable=True)
    author_name: pl.String | None = field("Who wrote it.", cls="personal", nullable=True)
    tlp: pl.String | None = field("With whom it may be shared.", nullable=True)
    tags: pl.String | None = field("The pulse's tags, a JSON list.", nullable=True)
    adversary: pl.String | None = field("Who is behind it.", nullable=True)
    malware_families: pl.String | None = field("Malware, a JSON list.", nullable=True)
    attack_ids: pl.String | None = field("ATT&CK techniques, a JSON list.", nullable=True)
    targeted_countries: pl.String | None = field("A JSON list.", nullable=True)
    references: pl.String | None = field("Where more is told, a JSON list.", nullable=True)
    pulse_created: pl.String | None = field("When the pulse was made.", nullable=True)


class PulseIndicatorRecord(IndicatorRecord):
    """An indicator in a pulse, typed and canonical."""

    indicator: pl.String = field("The indicator in canonical form.", source="indicator")
    raw_value: pl.String = field("The indicator as delivered.", source="indicator")
    indicator_type: pl.String = field("What it is.", source="type", nullable=True)
    first_seen: Instant = field("When it was added to the pulse.", source="created")
    malware: pl.String = field(
        "The first malware family named.", source="malware_families", nullable=True
    )
    tags: Texts = field("The pulse's tags.", source="tags", nullable=True)
    reference: pl.String = field("OTX's page of the pulse.", source="pulse_id")
    detect: pl.Boolean = field("Whether it is active.", source="is_active")
    pulse_id: pl.String = field("The pulse.", source="pulse_id")
    pulse_name: pl.String = field("The pulse's name.", source="pulse_name", nullable=True)
    author: pl.String = field("Who wrote it.", source="author_name", cls="personal", nullable=True)
    adversary: pl.String = field("Who is behind it.", source="adversary", nullable=True)
    techniques: Texts = field("ATT&CK techniques.", source="attack_ids", nullable=True)
    expires: Instant = field("When it expires.", source="expiration", nullable=True)
    role: pl.String = field("What part it plays.", source="role", nullable=True)

    class Config:
        """A record stands in a body's day once."""

        unique = ["day", "record_id", "known_from"]


class OtxDay(pa.DataFrameModel):
    """A day of OTX in numbers."""

    day: pl.Date = field("Day on which the indicators were added (UTC).")
    records: pl.Int64 = field("Indicators in pulses.", ge=1)
    indicators: pl.Int64 = field("Distinct indicators.", ge=1)
    pulses: pl.Int64 = field("Pulses that they were added to.", ge=1)
    families: pl.Int64 = field("Distinct malware families.", ge=0)
    expired: pl.Int64 = field("Records that are no longer active.", ge=0)
    top_type: pl.String = field("The type with the most records.")


def extract(context: Context, window: Window) -> Iterator[Document]:
    """Ask for all pulses that were modified since the window began, page by page.

    What the whole pass answers is told by its last page, and reaches to when its first was asked
    for: a pulse that is modified while one reads moves to the front, and comes with the next pass.
    What is new at the front moves others on, to be read twice. Where pulses went away, others
    move up behind one's back, and the page before is asked for again.
    """
    since = start_of(window.first)
    page, began = _where_it_broke_off(context, since)
    before = 0
    while True:
        document = context.get(_page(context, since, page), window)
        began = began or document.fetch.started_at
        found = otx_pages.page(document)
        for pulse in found.cut:
            yield from _rest(context, pulse, window)
        moved_up = page > 1 and found.count < before
        if not (moved_up or found.more):
            yield document.answering(since, max(began, since + timedelta(microseconds=1)))
            return
        yield document.answering(None, None)
        page, before = page - 1 if moved_up else page + 1, found.count


def _where_it_broke_off(context: Context, since: datetime) -> tuple[int, datetime | None]:
    """Return the page to go on with, and when the first one was asked for.

    The last page that came is asked for again: what was modified meanwhile moved pulses on.
    """
    page, began, last = 1, None, context.now - RESUMED
    while (fetch := context.received(_page(context, since, page), last)) is not None:
        if fetch.answers_from != fetch.answers_to:
            return 1, None  # That pass came to its end.
        began = began or fetch.started_at
        page, last = page + 1, fetch.received_at
    return max(1, page - 1), began


def _page(context: Context, since: datetime, page: int) -> Request:
    return Request(
        f"{API}/pulses/subscribed",
        params={"limit": PAGE, "page": page, "modified_since": f"{since:%Y-%m-%dT%H:%M:%S}"},
        headers={"X-OTX-API-KEY": context.secret(KEY)},
    )


def _rest(context: Context, pulse: Mapping[str, Any], window: Window) -> Iterator[Document]:
    """Ask for all indicators of a pulse whose list was cut off.

    The address of each page is noted with what the pulse says, since the page does not.
    """
    page, more = 0, True
    while more:
        page += 1
        request = Request(
            f"{API}/pulses/{quote(str(pulse.get('id')), safe='')}/indicators",
            params={"limit": INDICATORS, "page": page},
            headers={"X-OTX-API-KEY": context.secret(KEY)},
        )
        document = context.get(request, window).answering(None, None)
        address = f"{document.fetch.url}#{otx_pages.said_of(pulse)}"
        yield replace(document, fetch=replace(document.fetch, url=address))
        more = otx_pages.page(document).more


def covers(document: Document, span: Span) -> Interval | None:
    """A page speaks of its pulses, since the first indicator in them was added."""
    fetch = document.fetch
    first = span.first or fetch.received_at
    return start_of(first.date()), max(fetch.received_at, span.last or first)


def clean(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Type and canonicalise by OTX's type; a value that shows to be another is taken as that."""
    text = pl.col("indicator").str.strip_chars()
    value = canonical.refang(pl.col("indicator"))
    named = pl.col("type").replace_strict(_KINDS, default=None, return_dtype=pl.String)
    digest = canonical.digest(pl.col("indicator"))
    is_digest = pl.col("type").is_in(_DIGESTS)
    # Some call a URL a domain, and some a path alone a URI.
    as_url = named.is_in(["domain", "hostname", "uri"]) & text.str.contains("://", literal=True)
    url = (named == "url") | as_url
    network = canonical.cidr(value)
    single = (named == "cidr") & ~network.str.contains("/", literal=True)
    other = named.is_in(["uri", "filepath", "mutex", "yara"]) & ~as_url & (text != "")
    families = pl.col("malware_families")
    tlp = pl.col("tlp").str.to_lowercase().str.strip_prefix("tlp:")
    return describe(
        raw,
        indicator=pl.when(is_digest)
        .then(digest)
        .when(url)
        .then(canonical.urls(pl.col("indicator")).struct.field("url"))
        .when(named.is_in(["domain", "hostname"]))
        .then(canonical.domain(value))
        .when(named.is_in(["ipv4", "ipv6"]))
        .then(canonical.address(pl.col("indicator")))
        .when(named == "cidr")
        .then(network)
        .when(named == "email")
        .then(canonical.email(pl.col("indicator")))
        .when(named == "cve")
        .then(canonical.cve(pl.col("indicator")))
        .when(named.is_in(["pehash", "imphash"]) & text.str.contains(r"^[0-9a-fA-F]{16,64}$"))
        .then(text.str.to_lowercase())
        .when(other)
        .then(text),
        indicator_type=pl.when(is_digest)
        .then(canonical.digest_type(digest))
        .when(url)
        .then(pl.lit("url"))
        .when(named.is_in(["ipv4", "ipv6"]) | single)
        .then(
            canonical.address_type(pl.coalesce(canonical.address(value), network)).fill_null(named)
        )
        .otherwise(named),
        raw_value=pl.col("indicator"),
        first_seen=_moment("created"),
        malware=pl.coalesce(
            families.str.json_path_match("$[0].display_name"),
            families.str.json_path_match("$[0]"),
        ),
        tags=json_records.texts("tags"),
        tlp=tlp.replace_strict(_TLP, default=None, return_dtype=pl.String),
        reference="https://otx.alienvault.com/pulse/" + pl.col("pulse_id"),
        detect=pl.col("is_active").fill_null("1") != "0",
        author=pl.col("author_name"),
        adversary=pl.col("adversary").replace("", None),
        techniques=_some(pl.col("attack_ids").str.extract_all(r"T[0-9]{4}(?:\.[0-9]{3})?")),
        expires=_moment("expiration"),
        role=pl.col("role").replace("", None),
    )


def _moment(name: str) -> pl.Expr:
    """Read `2015-09-02T09:21:53.093000` or without fractions, which is UTC; else null."""
    text = pl.col(name).str.strip_suffix("Z")
    found = text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)
    return found.dt.replace_time_zone("UTC")


def _some(found: pl.Expr) -> pl.Expr:
    return pl.when(found.list.len() > 0).then(found.list.unique(maintain_order=True))


SPEC = SourceSpec(
    name="otx",
    domain="threat",
    title="AlienVault OTX",
    description="Pulses of the people one follows at the Open Threat Exchange.",
    homepage="https://otx.alienvault.com/",
    licence="OTX terms of use",
    redistributable=False,
    owner="team:threat-intelligence",
    kind="event",
    look_back_days=None,
    start=date(2015, 1, 1),
    # What was modified since a day comes in one pass, however long ago that is.
    window_days=3_650,
    cadence="*/30 * * * *",
    secrets=(KEY,),
    keys_at="https://otx.alienvault.com/settings",
    # People publish in fits and starts.
    volume=VolumeRule(collapse=0.02, burst=50.0),
    policy=HttpPolicy(rate_per_second=5.0, burst=5, read_timeout=60.0, max_bytes=256 << 20),
    # Anybody may publish a pulse.
    trust=40,
    extract=extract,
    parse=otx_pages.parse,
    clean=clean,
    record_id=pl.col("pulse_id") + "/" + pl.col("id"),
    event_time=_moment("created"),
    covers=covers,
    scope="part",
    code_version="2",
    raw=Contract("raw", "otx", RawPulseIndicator, "Indicators in OTX pulses as delivered."),
    cleaned=Contract("cleaned", "otx", PulseIndicatorRecord, "Indicators, typed and canonical."),
    aggregates=(
        Aggregate(
            Contract("aggregated", "otx_daily", OtxDay, "OTX in numbers, by day."),
            files("intel_assets.threat").joinpath("sql/otx_daily.sql").read_text("utf-8"),
        ),
    ),
)
