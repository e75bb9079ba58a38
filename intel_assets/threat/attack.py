"""MITRE ATT&CK: techniques, groups, software and what ties them. A reference of three bundles.

Each bundle (enterprise, mobile, ICS) is STIX 2.1; together they are the snapshot of a week.
https://github.com/mitre-attack/attack-stix-data
"""

from __future__ import annotations

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
from intel_assets.lakehouse.contracts import Contract, Instant, RawRecord, Record, Texts, field
from intel_assets.sources.calendars import Calendar
from intel_assets.sources.snapshots import day_of, whole_day
from intel_assets.sources.spec import Aggregate, Context, SourceSpec

FILE = (
    "https://raw.githubusercontent.com/mitre-attack/attack-stix-data/master/"
    "{name}-attack/{name}-attack.json"
)
MATRICES = ("enterprise", "mobile", "ics")
KINDS = {
    "attack-pattern": "technique",
    "x-mitre-tactic": "tactic",
    "intrusion-set": "group",
    "malware": "software",
    "tool": "software",
    "campaign": "campaign",
    "course-of-action": "mitigation",
    "relationship": "relationship",
}
"""STIX types that are kept, and what ATT&CK calls them."""

_COLUMNS = ("matrix", "id", "type", "created", "modified")
_KEPT = (
    "id",
    "type",
    "name",
    "description",
    "created",
    "modified",
    "revoked",
    "external_references",
    "kill_chain_phases",
    "aliases",
    "x_mitre_aliases",
    "x_mitre_platforms",
    "x_mitre_version",
    "x_mitre_deprecated",
    "relationship_type",
    "source_ref",
    "target_ref",
)


class RawObject(RawRecord):
    """A STIX object, as delivered: nested values as JSON."""

    matrix: pl.String = field("enterprise, mobile or ics.")
    id: pl.String = field("STIX identifier.")
    type: pl.String = field("STIX type.")
    name: pl.String | None = field("Name.", nullable=True)
    description: pl.String | None = field("Description.", nullable=True)
    created: pl.String = field("When it was made.")
    modified: pl.String = field("When it was changed last.")
    revoked: pl.String | None = field("Whether another took its place.", nullable=True)
    external_references: pl.String | None = field("Addresses, JSON.", nullable=True)
    kill_chain_phases: pl.String | None = field("Tactics, JSON.", nullable=True)
    aliases: pl.String | None = field("Other names of a group, JSON.", nullable=True)
    x_mitre_aliases: pl.String | None = field("Other names of software, JSON.", nullable=True)
    x_mitre_platforms: pl.String | None = field("Platforms, JSON.", nullable=True)
    x_mitre_version: pl.String | None = field("The object's version.", nullable=True)
    x_mitre_deprecated: pl.String | None = field("Whether it is given up.", nullable=True)
    relationship_type: pl.String | None = field("Of a relationship: its kind.", nullable=True)
    source_ref: pl.String | None = field("Of a relationship: from where.", nullable=True)
    target_ref: pl.String | None = field("Of a relationship: to where.", nullable=True)


class AttackRecord(Record):
    """An object of ATT&CK, typed."""

    matrix: pl.String = field("enterprise, mobile or ics.", source="matrix", isin=MATRICES)
    stix_id: pl.String = field("STIX identifier.", source="id")
    kind: pl.String = field("What it is.", source="type", isin=sorted(set(KINDS.values())))
    external_id: pl.String = field(
        "ATT&CK's identifier, such as T1059.001, G0007 or S0154.",
        source="external_references",
        nullable=True,
        str_matches=r"^(?:T|TA|G|S|C|M)[0-9]{4}(?:\.[0-9]{3})?$|^T[0-9]{3,4}$|^M0?[0-9]{3,4}$",
    )
    name: pl.String = field("Name.", source="name", nullable=True)
    description: pl.String = field("Description.", source="description", nullable=True)
    url: pl.String = field("Its page.", source="external_references", nullable=True)
    aliases: Texts = field("Other names.", source="aliases", nullable=True)
    tactics: Texts = field("Tactics that it serves.", source="kill_chain_phases", nullable=True)
    platforms: Texts = field("Platforms.", source="x_mitre_platforms", nullable=True)
    version: pl.String = field("Its version.", source="x_mitre_version", nullable=True)
    revoked: pl.Boolean = field("Whether another took its place.", source="revoked")
    deprecated: pl.Boolean = field("Whether it is given up.", source="x_mitre_deprecated")
    created: Instant = field("When it was made.", source="created")
    modified: Instant = field("When it was changed last.", source="modified")
    relation: pl.String = field(
        "Of a relationship: `uses`, `mitigates`, …", source="relationship_type", nullable=True
    )
    source_ref: pl.String = field("Of a relationship: from.", source="source_ref", nullable=True)
    target_ref: pl.String = field("Of a relationship: to.", source="target_ref", nullable=True)

    class Config:
        """An object stands in a bundle once."""

        unique = ["day", "record_id", "known_from"]


class AttackDay(pa.DataFrameModel):
    """A matrix in a snapshot, in numbers."""

    day: pl.Date = field("Day of the snapshot (UTC).")
    matrix: pl.String = field("The matrix.")
    techniques: pl.Int64 = field("Techniques, neither revoked nor given up.", ge=0)
    groups: pl.Int64 = field("Groups, likewise.", ge=0)
    software: pl.Int64 = field("Malware and tools, likewise.", ge=0)
    relationships: pl.Int64 = field("Ties between them.", ge=0)


def extract(context: Context, window: Window) -> Iterator[Document]:
    """Ask for each bundle; the last one answers the day."""
    for name in MATRICES:
        document = context.get(Request(FILE.format(name=name)), window)
        if name == MATRICES[-1]:
            day = day_of(document.fetch)
            yield document.answering(start_of(day), start_of(day + timedelta(days=1)))
        else:
            yield document.answering(None, None)


def parse(document: Document) -> pl.LazyFrame:
    """Read a bundle: the objects that matter.

    Raises:
        ParseError: If it is no bundle of ATT&CK.
    """
    if document.path is None:
        raise ValueError("a document without a body cannot be parsed")
    bundle = json_records.load(document.path)
    objects = bundle.get("objects") if isinstance(bundle, Mapping) else None
    if not isinstance(objects, list) or bundle.get("type") != "bundle":
        raise ParseError(f"line 1: this is no STIX bundle: {str(bundle)[:120]}")
    told = {"matrix": _matrix(objects)}
    rows = [
        {name: one[name] for name in _KEPT if name in one} | told
        for one in objects
        if one.get("type") in KINDS
    ]
    day = pl.lit(day_of(document.fetch))
    return json_records.frame(rows, _COLUMNS).with_columns(day=day)


def _matrix(objects: list[Mapping[str, Any]]) -> str:
    """Return which matrix a bundle is: its collection says so."""
    names = [str(one.get("name")) for one in objects if one.get("type") == "x-mitre-collection"]
    found = next((m for m in MATRICES for name in names if name.lower().startswith(m)), None)
    if found is None:
        raise ParseError(f"line 1: the bundle names no collection of ATT&CK: {names}")
    return found


def clean(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Type; ATT&CK's own reference is the first of those that an object has."""
    references = pl.col("external_references")
    phases = pl.col("kill_chain_phases").str.extract_all(r'"phase_name":"[^"]+"')
    return raw.with_columns(
        stix_id=pl.col("id"),
        kind=pl.col("type").replace_strict(KINDS, default=None, return_dtype=pl.String),
        external_id=references.str.json_path_match("$[0].external_id"),
        url=references.str.json_path_match("$[0].url"),
        aliases=json_records.texts("aliases").fill_null(json_records.texts("x_mitre_aliases")),
        tactics=_some(phases.list.eval(pl.element().str.extract(r':"([^"]+)"'))),
        platforms=json_records.texts("x_mitre_platforms"),
        version=pl.col("x_mitre_version"),
        revoked=pl.col("revoked").fill_null("false") == "true",
        deprecated=pl.col("x_mitre_deprecated").fill_null("false") == "true",
        created=_moment("created"),
        modified=_moment("modified"),
        relation=pl.col("relationship_type"),
    )


def _moment(name: str) -> pl.Expr:
    found = pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", strict=False)
    return found.dt.replace_time_zone("UTC")


def _some(found: pl.Expr) -> pl.Expr:
    return pl.when(found.list.len() > 0).then(found)


SPEC = SourceSpec(
    name="attack",
    domain="threat",
    title="MITRE ATT&CK",
    description="Techniques, groups and software that attackers use, and what ties them.",
    homepage="https://attack.mitre.org/",
    licence="ATT&CK terms of use",
    redistributable=True,
    owner="team:threat-intelligence",
    kind="state",
    look_back_days=0,
    start=date(2018, 1, 1),
    window_days=1,
    # Two versions a year: a snapshot a week shows them soon enough.
    calendar=Calendar("week", weekday=0),
    cadence="20 5,17 * * 1",
    late_days=0,
    policy=HttpPolicy(rate_per_second=20.0, burst=3, max_bytes=512 << 20),
    extract=extract,
    parse=parse,
    clean=clean,
    record_id=pl.col("matrix") + "/" + pl.col("id"),
    covers=whole_day,
    scope="matrix",
    raw=Contract("raw", "attack", RawObject, "Objects of ATT&CK as delivered, by week."),
    cleaned=Contract("cleaned", "attack", AttackRecord, "Objects of ATT&CK, typed."),
    aggregates=(
        Aggregate(
            Contract("aggregated", "attack_daily", AttackDay, "ATT&CK in numbers, by snapshot."),
            files("intel_assets.threat").joinpath("sql/attack_daily.sql").read_text("utf-8"),
        ),
    ),
)
