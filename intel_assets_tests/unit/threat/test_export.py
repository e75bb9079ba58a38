"""What leaves the lake, in which forms, and what must not."""

from __future__ import annotations

import hashlib
import ipaddress
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
import stix2
from hypothesis import given, settings
from hypothesis import strategies as st

from intel_assets.errors import UsageError
from intel_assets.lakehouse.catalog import Catalog
from intel_assets.threat import misp_events
from intel_assets.threat.export import blocklist, misp, stix
from intel_assets.threat.export.selection import Selection, Wanted, select
from intel_assets_tests.conftest import NOON, MakeLake, TestLake, unhurried
from intel_assets_tests.orchestration.test_sightings import days, made, post, snapshot


@pytest.fixture
def lake(make_lake: MakeLake, tmp_path: Path) -> TestLake:
    """Feeds of every kind of sharing: open, restricted by terms, and amber."""
    lake = make_lake(clock=lambda: NOON)
    every = days(19, 20)
    for day in every:
        snapshot(lake, tmp_path, "ipsum", day, "198.18.4.0/25", "198.18.4.128/25", "evil.example")
        post(lake, tmp_path, day, "198.18.0.2", "10.0.0.9")
    pulse = {
        "results": [
            {
                "id": "p",
                "name": "P",
                "tlp": scope,
                "tags": ["campaign"],
                "attack_ids": [{"id": "T1566"}, {"id": f"T1059.00{n}"}],
                "indicators": [
                    {
                        "id": n,
                        "indicator": value,
                        "type": "domain",
                        "created": "2026-06-09T01:00:00",
                    }
                ],
            }
            for n, (scope, value) in enumerate(
                [
                    ("amber", "amber.example.com"),
                    ("white", "open.example.com"),
                    ("white", "evil.example"),
                ]
            )
        ]
    }
    path = tmp_path / "pulses.json"
    path.write_text(json.dumps(pulse))
    lake.land(unhurried("otx"), {path: None}, NOON)
    made(lake, *every)
    return lake


def selected(lake: TestLake, **wanted: object) -> Selection:
    asked = replace(Wanted(min_confidence=10.0), **wanted)  # type: ignore[arg-type]
    layout = lake.engine.settings.layout
    with Catalog(layout, clock=lambda: NOON).connect() as connection:
        return select(connection, asked)


def values(selection: Selection) -> set[str]:
    return set(selection.indicators["indicator"])


@pytest.mark.slow
def test_nothing_leaves_that_terms_scope_or_sense_forbid(lake: TestLake):
    found = selected(lake)
    assert values(found) == {"198.18.4.0/25", "198.18.4.128/25", "evil.example", "198.18.0.2"}
    assert found.withheld == {
        "reserved address": 1,
        "sharing scope too narrow": 1,
        "terms forbid passing on": 1,
    }
    assert found.sources == {"ipsum": "The Unlicense", "tweetfeed": "CC0 1.0"}


@pytest.mark.slow
def test_what_is_asked_for_by_name_leaves(lake: TestLake):
    open_pulse = selected(lake, restricted=["otx"])
    assert "open.example.com" in values(open_pulse)
    assert "amber.example.com" not in values(open_pulse)
    amber = selected(lake, restricted=["otx"], tlp="amber")
    assert "amber.example.com" in values(amber)


@pytest.mark.slow
def test_words_of_a_feed_stay_whose_terms_forbid_passing_on(lake: TestLake):
    def told(**wanted: object) -> dict[str, object]:
        rows = selected(lake, types=["domain"], **wanted).indicators.to_dicts()
        row = next(row for row in rows if row["indicator"] == "evil.example")
        return {name: row[name] for name in ("sources", "source_count", "tags")}

    assert told() == {"sources": ["ipsum"], "source_count": 1, "tags": []}
    everything = {"sources": ["ipsum", "otx"], "source_count": 2, "tags": ["campaign"]}
    assert told(restricted=["otx"]) == everything


@pytest.mark.slow
@pytest.mark.parametrize(
    "wanted", [{"types": ["ip"]}, {"tlp": "white"}, {"restricted": ["nobody"]}]
)
def test_what_makes_no_sense_is_refused(lake: TestLake, wanted: dict[str, object]):
    with pytest.raises(UsageError, match="There is no"):
        selected(lake, **wanted)


@pytest.mark.slow
def test_a_list_says_as_of_when_it_is_and_what_was_left_out(lake: TestLake):
    found = selected(lake)
    text = list(blocklist.lines(found, "plain"))
    head = [line for line in text if line.startswith("# ")]
    assert head[0] == "# Indicators as of 2026-06-10 12:00:00 UTC, form plain"
    assert "# Source: ipsum (The Unlicense)" in head
    assert any(line.startswith("# Left out: ") for line in head)
    assert set(text) - set(head) == values(found)


@pytest.mark.slow
def test_each_form_holds_what_it_can(lake: TestLake):
    found = selected(lake)
    forms = {
        form: [x for x in blocklist.lines(found, form) if x[0] not in "#;$@"]
        for form in blocklist.FORMS
    }
    assert forms["hosts"] == ["0.0.0.0 evil.example"]
    assert forms["rpz"] == ["evil.example CNAME .", "*.evil.example CNAME ."]
    assert forms["cidr"] == ["198.18.0.2/32", "198.18.4.0/24"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2**16 - 1), st.integers(20, 32)).map(
            lambda one: str(ipaddress.ip_network((0xC6120000 + one[0], one[1]), strict=False))
        ),
        max_size=30,
    )
)
def test_collapsed_ranges_hold_the_same_addresses(ranges: list[str]) -> None:
    def addresses(some: list[str]) -> set[int]:
        return {
            int(net.network_address) + n
            for net in map(ipaddress.ip_network, some)
            for n in range(net.num_addresses)
        }

    found = list(blocklist.collapsed(ranges))
    assert addresses(found) == addresses(ranges)
    assert len(found) <= len(set(ranges))


@pytest.mark.slow
def test_a_bundle_is_valid_stix_and_always_the_same(lake: TestLake):
    found = selected(lake, restricted=["otx"], tlp="amber")
    text = "".join(stix.pieces(found))
    assert text == "".join(stix.pieces(selected(lake, restricted=["otx"], tlp="amber")))
    bundle = stix2.parse(text, allow_custom=False)
    indicators = [one for one in bundle.objects if one.type == "indicator"]
    assert {one.name for one in indicators} == values(found)
    by_name = {one.name: one for one in indicators}
    assert by_name["198.18.4.0/25"].pattern == "[ipv4-addr:value ISSUBSET '198.18.4.0/25']"
    assert all(one.valid_until > one.valid_from for one in indicators)
    marked = by_name["amber.example.com"].object_marking_refs[0]
    (marking,) = [one for one in bundle.objects if one.id == marked]
    assert marking.name == "TLP:AMBER"


@pytest.mark.slow
def test_a_technique_leaves_with_its_indicator_if_the_report_may(lake: TestLake):
    def named(found: Selection) -> dict[str, set[str]]:
        bundle = stix2.parse("".join(stix.pieces(found)), allow_custom=False)
        by_id = {one.id: one for one in bundle.objects}
        shown: dict[str, set[str]] = {}
        for one in bundle.objects:
            if one.type == "relationship":
                assert one.relationship_type == "indicates"
                behind = by_id[one.target_ref].external_references[0].external_id
                shown.setdefault(by_id[one.source_ref].name, set()).add(behind)
        return shown

    assert named(selected(lake)) == {}
    found = selected(lake, restricted=["otx"])
    assert named(found)["open.example.com"] == {"T1566", "T1059.001"}
    assert "amber.example.com" not in named(found)
    wide = named(selected(lake, restricted=["otx"], tlp="amber"))
    assert wide["amber.example.com"] == {"T1566", "T1059.000"}

    known = {"T1566": {"name": "Phishing", "url": "https://attack.mitre.org/techniques/T1566"}}
    bundle = stix2.parse("".join(stix.pieces(replace(found, techniques=known))))
    patterns = {
        one.external_references[0].external_id: one.name
        for one in bundle.objects
        if one.type == "attack-pattern"
    }
    assert patterns["T1566"] == "Phishing"
    assert patterns["T1059.001"] == "T1059.001"


@pytest.mark.slow
def test_an_indicator_is_valid_until_its_confidence_falls_below_the_threshold(lake: TestLake):
    row = selected(lake).indicators.filter(indicator="198.18.0.2").row(0, named=True)
    until = stix.valid_until(row)
    age = (until - row["last_seen"]).total_seconds() / 86_400
    left = row["evidence"] * (1 - (age / row["tau_days"]) ** (1 / row["delta"]))
    assert left == pytest.approx(row["threshold"], abs=0.01)


@pytest.mark.parametrize("value", ["a'b", "a\\b", "http://x/'\\'"])
def test_a_pattern_cannot_be_broken_out_of(value: str):
    pattern = stix.pattern_of(value, "url")
    indicator = stix2.Indicator(pattern=pattern, pattern_type="stix", valid_from=NOON)
    assert indicator.pattern == pattern


@pytest.mark.slow
def test_a_misp_feed_is_read_back_as_it_was_and_says_anew_only_what_changed(
    lake: TestLake, tmp_path: Path
):
    found, folder = selected(lake), tmp_path / "feed"
    assert misp.write(found, folder) == found.indicators.height == 4

    def told() -> dict[str, str]:
        manifest = json.loads((folder / "manifest.json").read_text())
        assert {file.stem for file in folder.glob("*-*.json")} == set(manifest)
        return {uuid: one["timestamp"] for uuid, one in manifest.items()}

    first = told()
    hashes = set((folder / "hashes.csv").read_text().splitlines())
    read = [
        (row["value"], uuid, row["type"], row["to_ids"])
        for uuid in first
        for event in misp_events.events(folder / f"{uuid}.json")
        for row in misp_events.rows(event)
    ]
    assert {value for value, _, _, _ in read} == values(found)
    assert {to_ids for _, _, _, to_ids in read} == {True}
    assert {kind for _, _, kind, _ in read} == {"ip-dst", "domain"}
    digests = {f"{hashlib.md5(value.encode()).hexdigest()},{uuid}" for value, uuid, _, _ in read}
    assert digests == hashes

    later = replace(found, moment=found.moment + timedelta(days=1))
    misp.write(later, folder)
    assert told() == first
    fewer = replace(later, indicators=later.indicators.filter(pl.col("indicator_type") != "domain"))
    assert misp.write(fewer, folder) == 3
    assert told().items() < first.items()
    assert not list(folder.glob(".*"))
