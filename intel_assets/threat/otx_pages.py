"""OTX's bodies as records: pages of pulses, of one pulse's indicators, and recordings of them.

What is asked for, and what a record means, is in otx.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

import polars as pl

from intel_assets.errors import ParseError
from intel_assets.ingest import json_records
from intel_assets.ingest.documents import Document

OF_PULSE = {
    "name": "pulse_name",
    "author_name": "author_name",
    "TLP": "tlp",
    "tlp": "tlp",
    "tags": "tags",
    "adversary": "adversary",
    "malware_families": "malware_families",
    "attack_ids": "attack_ids",
    "targeted_countries": "targeted_countries",
    "references": "references",
    "created": "pulse_created",
}
"""What of a pulse stands in each of its records, and in which column.

When it was modified is left out: every indicator of it would be another record then.
"""
_COLUMNS = ("part", "pulse_id", "id", "indicator", "type", "created")
# Of the answer and of who asks; and `observations`, which counts on as one reads.
_OF_ANSWER = frozenset(
    ("pulse", "t", "t2", "t3", "count", "prefetch_pulse_ids", "pulse_key", "observations")
    + ("access_groups", "access_reason", "access_type")
)
# A name is personal, and addresses are shown everywhere; references can be hundreds.
_UNSAID = ("author_name", "references")
_QUOTED = 120


@dataclass(frozen=True)
class Page:
    """What a page says of its place in a list.

    Attributes:
        cut: The pulses on it whose indicators were cut off.
        count: How many pulses or indicators there are on all pages.
        more: Whether there is another page.
    """

    cut: tuple[Mapping[str, Any], ...] = ()
    count: int = 0
    more: bool = False


def page(document: Document) -> Page:
    """Read a page that has just come; one that the parser will refuse is the last."""
    try:
        body = json.loads(document.path.read_bytes()) if document.path else None
    except (ValueError, RecursionError):
        return Page()
    if not isinstance(body, Mapping) or not isinstance(listed := body.get("results"), list):
        return Page()
    cut = (one for one in listed if isinstance(one, Mapping) and one.get("more_indicators"))
    count = body.get("count")
    return Page(
        cut=tuple(cut),
        count=count if isinstance(count, int) else 0,
        # A page of nothing that names another would be read for ever.
        more=bool(listed and body.get("next")),
    )


def said_of(pulse: Mapping[str, Any]) -> str:
    """Return a fragment for the address of a pulse's indicators, which say nothing of the pulse.

    A fragment is never sent. So a body can be read again at any time from landing and the journal.
    """
    told = {name: pulse[name] for name in OF_PULSE if name in pulse and name not in _UNSAID}
    return quote(json.dumps(told, ensure_ascii=False, separators=(",", ":")), safe="")


def parse(document: Document) -> pl.LazyFrame:
    """Read a page of pulses or of one pulse's indicators, or pulses as they were recorded.

    Raises:
        ParseError: If it is no JSON, or neither of these.
    """
    if document.path is None:
        raise ValueError("a document without a body cannot be parsed")
    address = urlsplit(document.fetch.url)
    if address.path.endswith("/indicators"):
        return json_records.frame(_of_one(document.path, address), _COLUMNS)
    landed = document.fetch.outcome == "landed"
    records = _recorded(document.path) if landed else _listed(document.path)
    # Of a list that was cut off, the whole is asked for; nobody does that for a file.
    rows = [row for one in records for row in _of_pulse(_object(one), passing_over_cut=not landed)]
    return json_records.frame(rows, _COLUMNS)


def _listed(path: Path) -> list[Any]:
    """Return what a page lists; a body without a list is no page, and not an empty one."""
    body = json_records.load(path)
    listed = body.get("results") if isinstance(body, Mapping) else None
    if not isinstance(listed, list):
        raise _no_pulse(body)
    return listed


def _recorded(path: Path) -> list[Any]:
    """Return the pulses of a page, of a list, or on lines of their own."""
    body = json_records.load(path)
    records = body.get("results", body) if isinstance(body, Mapping) else body
    if not records:
        raise _no_pulse(body)
    return records if isinstance(records, list) else [records]


def _of_one(path: Path, address: SplitResult) -> list[dict[str, Any]]:
    """Return the records of a page of one pulse's indicators."""
    key = address.path.split("/")[-2]
    number = parse_qs(address.query).get("page", ["1"])[0]
    part = key if number == "1" else f"{key}?page={number}"
    told = json.loads(unquote(address.fragment)) if address.fragment else {}
    return [_row(_object(one), told | {"id": key}, part) for one in _listed(path)]


def _of_pulse(pulse: Mapping[str, Any], *, passing_over_cut: bool) -> Iterator[dict[str, Any]]:
    key, cut = str(pulse.get("id")), bool(pulse.get("more_indicators"))
    if cut and passing_over_cut:
        return
    if isinstance(listed := pulse.get("indicators"), list):
        part = f"{key}?cut" if cut else key
        yield from (_row(_object(one), pulse, part) for one in listed)
    elif "indicator" in pulse and "pulse" in pulse:  # An indicator a line, its pulse beside it.
        told = pulse["pulse"]
        told = _object(json.loads(told) if isinstance(told, str) else told)
        yield _row(pulse, told, f"{told.get('id')}?{pulse.get('id')}")
    else:
        raise _no_pulse(pulse)


def _row(indicator: Mapping[str, Any], pulse: Mapping[str, Any], part: str) -> dict[str, Any]:
    own = {name: value for name, value in indicator.items() if name not in _OF_ANSWER}
    own["id"] = str(own.pop("_id", None) or own.get("id"))
    # The scope has been written in two ways; the one that says something counts.
    told = {
        column: pulse[name]
        for name, column in OF_PULSE.items()
        if name in pulse and not (column == "tlp" and not pulse[name])
    }
    return own | told | {"part": part, "pulse_id": str(pulse.get("id"))}


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _no_pulse(value)
    return value


def _no_pulse(value: object) -> ParseError:
    start = json.dumps(value, ensure_ascii=False)[:_QUOTED]
    return ParseError(f"line 1: this is neither a pulse nor an indicator of one: {start}")
