"""Links: what a record ties together, and that each tie stands once a day and feed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from intel_assets.lakehouse.contracts import INSTANT
from intel_assets.threat.gold import links
from intel_assets.threat.gold.links import LINKS, RELATIONS
from intel_assets_tests.conftest import NOON, MakeLake, TestLake, unhurried
from intel_assets_tests.unit.threat.gold.given import (
    at,
    build_all,
    day,
    held,
    land,
    made,
    snapshot,
    specs,
    tables,
)

CONTEXTS = {
    "day": pl.Date,
    "source": pl.String,
    "indicator": pl.String,
    "indicator_type": pl.String,
    "first_seen": INSTANT,
    "host": pl.String,
    "registered_domain": pl.String,
    "malware": pl.String,
    "also": pl.List(pl.String),
    "country": pl.String,
    "techniques": pl.List(pl.String),
    "pulse_id": pl.String,
    "pulse_name": pl.String,
    "event_uuid": pl.String,
    "event_info": pl.String,
}
MD5, SHA1, SHA256 = "b" * 32, "c" * 40, "a" * 64


def record(indicator: str, kind: str, number: int = 0, **given: Any) -> dict[str, Any]:
    return {
        "day": day(number),
        "source": "threatfox",
        "indicator": indicator,
        "indicator_type": kind,
        "first_seen": at(number, 10),
    } | given


def tied(*records: dict[str, Any]) -> pl.DataFrame:
    with tables([], cleaned__contexts=pl.DataFrame(records, schema=CONTEXTS)) as con:
        found = made(con, "indicator_links")
    assert set(found.columns) == set(LINKS.schema)
    assert LINKS.split(found.select(list(LINKS.schema))).rejected.is_empty()
    return found


def ties(*records: dict[str, Any]) -> list[tuple[Any, ...]]:
    return tied(*records).select("indicator", "relation", "target", "target_type").rows()


def test_a_url_leads_to_its_host_and_to_what_somebody_registered():
    host = {"host": "www.a.b.example.co.uk", "registered_domain": "example.co.uk"}
    assert ties(record("http://www.a.b.example.co.uk/x", "url", **host)) == [
        ("http://www.a.b.example.co.uk/x", "hosted on", "www.a.b.example.co.uk", "hostname"),
        ("www.a.b.example.co.uk", "part of", "example.co.uk", "domain"),
        ("www.a.b.example.co.uk", "subdomain of", "a.b.example.co.uk", "hostname"),
    ]


@pytest.mark.parametrize(
    ("host", "registered", "kind"),
    [
        ("198.18.0.1", None, "ipv4"),
        ("2001:db8::1", None, "ipv6"),
        ("example.com", "example.com", "domain"),
        ("intranet", None, "hostname"),
    ],
)
def test_a_host_is_an_address_or_a_name_and_what_it_is_part_of_is_not_made_up(
    host: str, registered: str | None, kind: str
):
    found = ties(record("http://h/x", "url", host=host, registered_domain=registered))
    assert found == [("http://h/x", "hosted on", host, kind)]


def test_a_name_one_step_below_what_is_registered_has_no_other_name_above_it():
    host = {"host": "www.example.com", "registered_domain": "example.com"}
    assert ties(record("www.example.com", "hostname", **host)) == [
        ("www.example.com", "part of", "example.com", "domain")
    ]


def test_what_one_record_holds_is_tied_by_what_it_is():
    also = [f"md5:{MD5}", f"sha1:{SHA1}", f"imphash:{MD5}"]
    assert ties(record(SHA256, "sha256", also=also)) == [
        (SHA256, "same file", MD5, "md5"),
        (SHA256, "same file", SHA1, "sha1"),
        # Many files import the same: an import hash says nothing of one file.
        (SHA256, "same record", MD5, "imphash"),
    ]
    addresses = ["ipv6:2001:db8::1", "ipv4:198.18.0.1"]
    assert ties(record("a.example", "domain", also=addresses)) == [
        ("a.example", "resolves to", "198.18.0.1", "ipv4"),
        ("a.example", "resolves to", "2001:db8::1", "ipv6"),
    ]


def test_families_techniques_pulses_and_events_are_tied_to_what_names_them():
    pulse = {"pulse_id": "p1", "pulse_name": "A pulse", "techniques": ["T1059", "T1059.001"]}
    event = {"event_uuid": "e1", "event_info": "An event"}
    found = tied(
        record("198.18.0.1", "ipv4", malware="Mirai", host="198.18.0.1", **pulse),
        record("198.18.0.2", "ipv4", host="198.18.0.2", **event),
    )
    assert found.select("indicator", "relation", "target", "target_label").rows() == [
        ("198.18.0.1", "malware", "Mirai", None),
        ("198.18.0.1", "pulse", "p1", "A pulse"),
        ("198.18.0.1", "technique", "T1059", None),
        ("198.18.0.1", "technique", "T1059.001", None),
        ("198.18.0.2", "event", "e1", "An event"),
    ]


def test_a_tie_stands_once_a_day_and_feed_with_the_earliest_moment():
    same = {"malware": "Mirai", "host": "198.18.0.1"}
    found = tied(
        record("198.18.0.1", "ipv4", **same),
        record("198.18.0.1", "ipv4", first_seen=at(0, 3), **same),
        record("198.18.0.1", "ipv4", 1, **same),
        record("198.18.0.1", "ipv4", source="otx", **same),
    )
    assert found.select("day", "source", "first_seen").rows() == [
        (day(0), "otx", at(0, 10)),
        (day(0), "threatfox", at(0, 3)),
        (day(1), "threatfox", at(1, 10)),
    ]


def test_a_bare_address_and_what_a_lookup_answers_tie_nothing():
    lookup = record("198.18.0.1", "ipv4", source="virustotal", malware="Mirai")
    assert ties(record("198.18.0.1", "ipv4", host="198.18.0.1"), lookup) == []


# -- in a lake -------------------------------------------------------------------------------------


def page(*indicators: tuple[str, str]) -> str:
    told = [
        {"id": n, "type": kind, "indicator": one, "created": "2026-06-01T10:00:00", "is_active": 1}
        for n, (kind, one) in enumerate(indicators)
    ]
    pulse = {
        "id": "p1",
        "name": "Heron in the wild",
        "tlp": "green",
        "malware_families": ["Mirai"],
        "attack_ids": ["T1059", "T9999"],
        "indicators": told,
    }
    return json.dumps({"results": [pulse], "next": None})


def bundle() -> str:
    technique = {
        "type": "attack-pattern",
        "id": "attack-pattern--1",
        "name": "Command and Scripting Interpreter",
        "created": "2017-05-31T21:30:49.546Z",
        "modified": "2025-04-15T22:00:00.000Z",
        "external_references": [{"source_name": "mitre-attack", "external_id": "T1059"}],
        "kill_chain_phases": [{"kill_chain_name": "mitre-attack", "phase_name": "execution"}],
    }
    collection = {"type": "x-mitre-collection", "id": "c--1", "name": "Enterprise ATT&CK"}
    return json.dumps({"type": "bundle", "id": "bundle--1", "objects": [collection, technique]})


@pytest.fixture
def lake(make_lake: MakeLake, tmp_path: Path) -> TestLake:
    """A pulse, an event that a MISP feed has of the same day, and a list."""
    lake = make_lake(clock=lambda: NOON)
    pulse = page(("hostname", "www.example.com"), ("IPv4", "198.18.0.1"))
    land(lake, tmp_path, "otx", 0, pulse, "json")
    attribute = {
        "uuid": "a1",
        "type": "domain|ip",
        "value": "b.example|198.18.0.1",
        "to_ids": True,
        "timestamp": "1780308000",
    }
    event = {"uuid": "e1", "date": "2026-06-01", "timestamp": "1780308000", "info": "Herons"}
    body = json.dumps({"Event": event | {"Attribute": [attribute]}})
    land(lake, tmp_path, "circl_osint", 0, body, "json")
    snapshot(lake, tmp_path, "ipsum", 0, "198.18.0.1\t3")
    return lake


@pytest.mark.slow
def test_feeds_tie_together_what_they_tell_of(lake: TestLake):
    (spec,) = [one for one in specs(links) if one.contract is LINKS]
    assert build_all(lake, [spec], [day(0)]) == {"indicator_links": 1}
    assert build_all(lake, [spec], [day(0)]) == {"indicator_links": 0}
    found = held(lake, "indicator_links")["indicator_links"]
    assert found.select("source", "indicator", "relation", "target", "target_label").rows() == [
        ("circl_osint", "b.example", "event", "e1", "Herons"),
        ("circl_osint", "b.example", "resolves to", "198.18.0.1", None),
        ("otx", "198.18.0.1", "malware", "Mirai", None),
        ("otx", "198.18.0.1", "pulse", "p1", "Heron in the wild"),
        ("otx", "198.18.0.1", "technique", "T1059", None),
        ("otx", "198.18.0.1", "technique", "T9999", None),
        ("otx", "www.example.com", "malware", "Mirai", None),
        ("otx", "www.example.com", "part of", "example.com", None),
        ("otx", "www.example.com", "pulse", "p1", "Heron in the wild"),
        ("otx", "www.example.com", "technique", "T1059", None),
        ("otx", "www.example.com", "technique", "T9999", None),
    ]
    assert set(found["relation"]) < set(RELATIONS)
    assert held(lake, "indicator_links", as_of=NOON)["indicator_links"].equals(found)
    assert held(lake, "indicator_links", as_of=at(0))["indicator_links"].is_empty()


@pytest.mark.slow
def test_techniques_have_names_where_attack_is_there(lake: TestLake, tmp_path: Path):
    assert held(lake, "techniques")["techniques"].is_empty()
    path = tmp_path / "enterprise-attack.json"
    path.write_text(bundle())
    lake.land(unhurried("attack"), {path: None}, at(3, 12))
    (row,) = held(lake, "techniques")["techniques"].iter_rows(named=True)
    assert (row["technique"], row["name"]) == ("T1059", "Command and Scripting Interpreter")
    assert (row["tactics"], row["outdated"]) == (["execution"], False)
    assert held(lake, "techniques", as_of=at(2))["techniques"].is_empty()


def test_without_the_feeds_that_tie_there_are_no_links_and_nothing_fails(
    make_lake: MakeLake, tmp_path: Path
):
    lake = make_lake(clock=lambda: NOON)
    snapshot(lake, tmp_path, "ipsum", 0, "198.18.0.1\t3")
    assert build_all(lake, specs(links), [day(0)])["indicator_links"] == 0
    assert held(lake, "indicator_links", as_of=NOON)["indicator_links"].is_empty()
