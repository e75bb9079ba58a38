"""CISA's catalogue of known exploited vulnerabilities: a state feed with its own history.

A snapshot a day. Entries are changed in place and now and then removed, without a word: snapshots
show it, and `aggregated.kev_history` tells each entry's versions. What was added while nobody asked
still says when. https://www.cisa.gov/known-exploited-vulnerabilities-catalog
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
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
from intel_assets.sources.snapshots import day_of, whole_day
from intel_assets.sources.spec import Aggregate, Context, SourceSpec
from intel_assets.threat import canonical
from intel_assets.threat.model import IndicatorRecord, describe

URL = "https://www.cisa.gov/sites/default/files/feeds/known_exploited_vulnerabilities.json"
_COLUMNS = ("cveID", "vendorProject", "product", "vulnerabilityName", "dateAdded", "dueDate")


class RawVulnerability(RawRecord):
    """An entry of the catalogue, as delivered."""

    cveID: pl.String = field("The vulnerability's number.")
    vendorProject: pl.String = field("Whose product it is.")
    product: pl.String = field("The product.")
    vulnerabilityName: pl.String = field("Its name.")
    dateAdded: pl.String = field("When it was added.")
    shortDescription: pl.String | None = field("What it allows.", nullable=True)
    requiredAction: pl.String | None = field("What agencies have to do.", nullable=True)
    dueDate: pl.String = field("Until when they have to.")
    knownRansomwareCampaignUse: pl.String | None = field("Known or Unknown.", nullable=True)
    notes: pl.String | None = field("Addresses that tell more.", nullable=True)
    cwes: pl.String | None = field("Kinds of weakness, a JSON list.", nullable=True)


class VulnerabilityRecord(IndicatorRecord):
    """An entry of the catalogue, typed."""

    indicator: pl.String = field("The vulnerability's number.", source="cveID")
    raw_value: pl.String = field("The number as delivered.", source="cveID")
    indicator_type: pl.String = field("Always `cve`.", source="cveID", isin=["cve"])
    first_seen: Instant = field("When it was added.", source="dateAdded")
    vendor: pl.String = field("Whose product it is.", source="vendorProject")
    product: pl.String = field("The product.", source="product")
    title: pl.String = field("Its name.", source="vulnerabilityName")
    description: pl.String = field("What it allows.", source="shortDescription", nullable=True)
    due: pl.Date = field("Until when agencies have to act.", source="dueDate")
    ransomware: pl.Boolean = field(
        "Whether ransomware is known to use it.",
        source="knownRansomwareCampaignUse",
        nullable=True,
    )
    cwes: Texts = field("Kinds of weakness.", source="cwes", nullable=True)
    notes: pl.String = field("Addresses that tell more.", source="notes", nullable=True)

    class Config:
        """A record stands in a body's day once."""

        unique = ["day", "record_id", "known_from"]


class KevDay(pa.DataFrameModel):
    """A snapshot of the catalogue in numbers."""

    day: pl.Date = field("Day of the snapshot (UTC).")
    vulnerabilities: pl.Int64 = field("Vulnerabilities in it.", ge=1)
    added: pl.Int64 = field("Of these, those added in the 30 days before.", ge=0)
    vendors: pl.Int64 = field("Distinct vendors.", ge=1)
    ransomware: pl.Int64 = field("Of the vulnerabilities, those that ransomware uses.", ge=0)


def extract(context: Context, window: Window) -> Iterator[Document]:
    """Ask for the catalogue as it stands."""
    yield context.get(Request(URL), window)


def parse(document: Document) -> pl.LazyFrame:
    """Read a catalogue.

    Raises:
        ParseError: If it is cut off, or holds another number of entries than it says.
    """
    catalogue = _catalogue(document)
    found = catalogue["vulnerabilities"]
    if len(found) != catalogue.get("count"):
        raise ParseError(
            f"line 1: the catalogue says {catalogue.get('count')} entries and holds {len(found)}"
        )
    day = pl.lit(day_of(document.fetch))
    return json_records.frame(found, _COLUMNS).with_columns(day=day)


def clean(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Type; the kinds of weakness come as a list or joined by commas."""
    use = pl.col("knownRansomwareCampaignUse").str.to_lowercase()
    return describe(
        raw,
        indicator=canonical.cve(pl.col("cveID")),
        indicator_type=pl.lit("cve"),
        raw_value=pl.col("cveID"),
        first_seen=pl.col("dateAdded")
        .str.to_datetime("%Y-%m-%d", time_unit="us", strict=False)
        .dt.replace_time_zone("UTC"),
        threat=pl.lit("exploited vulnerability"),
        vendor=pl.col("vendorProject"),
        product=pl.col("product"),
        title=pl.col("vulnerabilityName"),
        description=pl.col("shortDescription"),
        due=pl.col("dueDate").str.to_date("%Y-%m-%d", strict=False),
        ransomware=use.replace_strict(
            {"known": True, "unknown": False}, default=None, return_dtype=pl.Boolean
        ),
        cwes=json_records.texts("cwes"),
        notes=pl.col("notes").replace("", None),
    )


def _catalogue(document: Document) -> Mapping[str, Any]:
    path: Path | None = document.path
    if path is None:
        raise ValueError("a document without a body cannot be parsed")
    text = path.read_text("utf-8-sig", errors="replace")
    try:
        whole = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise ParseError(f"line {line}: the catalogue is cut off or no JSON: {error}") from None
    if not isinstance(whole, Mapping) or not isinstance(whole.get("vulnerabilities"), list):
        raise ParseError(f"line 1: this is no catalogue: {text[:120]}")
    return whole


SPEC = SourceSpec(
    name="kev",
    domain="threat",
    title="CISA KEV",
    description="Vulnerabilities that are known to be exploited, with what was changed when.",
    homepage="https://www.cisa.gov/known-exploited-vulnerabilities-catalog",
    licence="CC0 1.0",
    redistributable=True,
    owner="team:threat-intelligence",
    kind="state",
    look_back_days=0,
    start=date(2021, 11, 3),
    window_days=1,
    cadence="5 */4 * * *",
    late_days=0,
    # It is released on most business days; over holidays it may rest.
    stale_after=timedelta(days=14),
    policy=HttpPolicy(rate_per_second=1.0, max_bytes=256 << 20),
    # Each is known to be exploited: that is what it takes to be listed.
    trust=95,
    extract=extract,
    parse=parse,
    clean=clean,
    record_id=pl.col("cveID"),
    covers=whole_day,
    raw=Contract("raw", "kev", RawVulnerability, "The KEV catalogue as delivered."),
    cleaned=Contract("cleaned", "kev", VulnerabilityRecord, "The KEV catalogue, typed."),
    aggregates=(
        Aggregate(
            Contract("aggregated", "kev_daily", KevDay, "The catalogue in numbers, by day."),
            files("intel_assets.threat").joinpath("sql/kev_daily.sql").read_text("utf-8"),
        ),
    ),
)
