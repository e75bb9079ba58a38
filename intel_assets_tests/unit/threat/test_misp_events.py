"""MISP events: what an attribute means, in recorded events and in made ones."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intel_assets.errors import ParseError
from intel_assets.threat.misp_feed import events_with, value_digests
from intel_assets.threat.misp_feeds import CIRCL_OSINT as FEED
from intel_assets_tests.unit.threat.given import cleaned, landed

SHA256, SHA1, MD5 = "c" * 64, "b" * 40, "a" * 32


def digest_of(value: str) -> str:
    return hashlib.md5(value.encode(), usedforsecurity=False).hexdigest()


def rejected(quarantine: pl.DataFrame) -> int:
    return int(quarantine["record_digest"].n_unique())


def test_every_value_of_the_recorded_feed_stands_in_its_hashes(samples: Path):
    folder = samples / "threat/tweetfeed_misp_feed"
    digests = value_digests(folder / "hashes.csv")
    assert digests.height == 5_179
    files = sorted(folder.glob("*-*.json"))
    assert len(files) == 14
    parts = [cleaned(FEED, file) for file in files]
    for file, part in zip(files, parts, strict=True):
        # What is no indicator as it stands is told of with the reason.
        assert rejected(part.quarantine) <= 2
        assert part.accepted["event_uuid"].unique().to_list() == [file.stem]
    found = pl.concat([part.accepted for part in parts])
    values = [
        *found.select("event_uuid", "raw_value").iter_rows(),
        *(
            (file.stem, value)
            for file, part in zip(files, parts, strict=True)
            for value in part.quarantine.unique("record_digest")["value"]
        ),
    ]
    made = pl.DataFrame(
        [(digest_of(value), uuid) for uuid, value in values],
        schema=digests.schema,
        orient="row",
    )
    # 5,179 of 5,179 values, each under its own event.
    assert made.height == 5_179
    assert made.join(digests, on=["md5", "event_uuid"], how="anti").is_empty()
    assert events_with(digests, "http://leap39.com") == ["06159a36-6012-5d68-bff5-7fac1110a2a6"]
    assert events_with(digests, "nobody.example") == []

    assert Counter(found["misp_type"])["ip-dst"] == 334
    assert set(found["tlp"]) == {"clear"}
    assert set(found["org"]) == {"TweetFeed"}
    assert set(found["threat_level"]) == {4}
    assert found["detect"].all()
    assert found["day"].n_unique() == 14
    assert (found["day"].min(), found["day"].max()) == (date(2026, 8, 9), date(2026, 8, 22))


def test_the_recorded_exports_are_read_whole(samples: Path, tmp_path: Path):
    folder = samples / "threat/misp_events"
    for name, attributes, domains, sha1s in (
        ("eset_misp-xdspy-event", 71, 29, 13),
        ("eset_misp-kryptocibule", 191, 67, 32),
    ):
        path = tmp_path / f"{name}.json"
        path.write_bytes(gzip.decompress((folder / f"{name}.json.gz").read_bytes()))
        found = cleaned(FEED, path)
        assert found.accepted.height + rejected(found.quarantine) == attributes
        assert not found.refused
        kinds = Counter(found.accepted["misp_type"])
        assert (kinds["domain"], kinds["sha1"]) == (domains, sha1s)
        # What ESET gives is context: nothing in it is meant for detection as it stands.
        assert not found.accepted["detect"].any()
        assert set(found.accepted["org"]) == {"ESET"}
        assert set(found.accepted["day"].dt.year()) == {2020}
        assert found.accepted["reference"].str.starts_with("https://").all()
    path = tmp_path / "intelmq.json"
    path.write_bytes(gzip.decompress((folder / "intelmq_misp_event.json.gz").read_bytes()))
    (row,) = cleaned(FEED, path).accepted.iter_rows(named=True)
    assert (row["indicator"], row["threat_level"]) == ("http://fake.example.com/malware/is/here", 1)
    assert row["first_seen"] == datetime.fromtimestamp(1_465_681_304, UTC)


def attribute(kind: str, value: object, **given: object) -> dict[str, Any]:
    told = {"uuid": f"a-{kind}-{value}", "type": kind, "value": value, "to_ids": True}
    return told | {"timestamp": "1781000000"} | given


def event(folder: Path, *attributes: dict[str, Any], **given: object) -> Path:
    whole = {"uuid": "e", "date": "2026-06-09", "timestamp": "1781000000", "info": "I"}
    path = folder / "event.json"
    path.write_text(json.dumps({"Event": whole | {"Attribute": attributes} | given}))
    return path


def rows(path: Path) -> list[dict[str, Any]]:
    found = cleaned(FEED, path)
    assert found.quarantine.is_empty()
    return [*found.accepted.iter_rows(named=True)]


@pytest.mark.parametrize(
    ("kind", "value", "indicator", "is_a", "beside"),
    [
        ("ip-dst", "198.18.0.1", "198.18.0.1", "ipv4", {}),
        ("ip-src", "198.18.0.0/16", "198.18.0.0/16", "cidr", {}),
        ("ip-src", "198.18.0.7/32", "198.18.0.7", "ipv4", {}),
        ("ip-dst|port", "2001:db8::1|443", "2001:db8::1", "ipv6", {"port": 443}),
        ("ip-dst|port", "198.18.0.1|99999", "198.18.0.1", "ipv4", {"port": None}),
        ("hostname|port", "b.a.example|8080", "b.a.example", "hostname", {"port": 8080}),
        ("domain|ip", "A.Example|198.18.0.1", "a.example", "domain", {"also": ["ipv4:198.18.0.1"]}),
        (
            "domain|ip",
            "a.example|2001:db8::1",
            "a.example",
            "domain",
            {"also": ["ipv6:2001:db8::1"]},
        ),
        ("filename|sha256", f"x.exe|{SHA256.upper()}", SHA256, "sha256", {"filename": "x.exe"}),
        ("filename|md5", f"a|b.exe|{MD5}", MD5, "md5", {"filename": "a|b.exe"}),
        ("filename|sha1", SHA1, SHA1, "sha1", {"filename": None}),
        ("filename|ssdeep", "x.exe|3:abc", "x.exe", "filename", {}),
        ("malware-sample", f"x.exe|{MD5}", MD5, "md5", {"filename": "x.exe"}),
        ("filename", "%TEMP%\\x.exe", "%TEMP%\\x.exe", "filepath", {}),
        ("vulnerability", "cve-2025-4664", "CVE-2025-4664", "cve", {}),
        ("url", "hxxp://a[.]example/x|y", "http://a.example/x|y", "url", {}),
        ("uri", "/gate.php", "/gate.php", "uri", {}),
        ("uri", "http://a.example/x", "http://a.example/x", "url", {}),
        ("email-src", "Ann@A.example", "ann@a.example", "email", {}),
        ("imphash", MD5.upper(), MD5, "imphash", {}),
        ("ja3-fingerprint-md5", MD5, MD5, "ja3", {}),
        ("mutex", "Global\\x", "Global\\x", "mutex", {}),
    ],
)
def test_the_part_that_detects_is_the_indicator(
    kind: str, value: str, indicator: str, is_a: str, beside: dict[str, object], tmp_path: Path
):
    (row,) = rows(event(tmp_path, attribute(kind, value)))
    assert (row["indicator"], row["indicator_type"], row["raw_value"]) == (indicator, is_a, value)
    for column in ("port", "filename", "also"):
        assert row[column] == beside.get(column), column


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


@settings(max_examples=8, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=30))
def test_a_hash_is_found_behind_any_name(names: list[str]):
    with TemporaryDirectory() as folder:
        given = [
            attribute("filename|sha256", f"{name}|{SHA256}", uuid=f"a{place:02}")
            for place, name in enumerate(names)
        ]
        found = cleaned(FEED, event(Path(folder), *given)).accepted.sort("record_id")
    assert found["indicator"].to_list() == [SHA256] * len(names)
    assert found["filename"].to_list() == names


@pytest.mark.parametrize(
    ("given", "detects"),
    [
        ({}, True),
        ({"to_ids": False}, False),
        ({"to_ids": "1"}, True),
        ({"to_ids": None}, False),
        ({"deleted": True}, False),
        ({"deleted": "1"}, False),
        ({"deleted": False}, True),
    ],
)
def test_only_what_is_meant_for_it_and_was_not_taken_back_detects(
    given: dict[str, object], detects: bool, tmp_path: Path
):
    (row,) = rows(event(tmp_path, attribute("domain", "a.example", **given)))
    assert row["detect"] is detects
    assert row["deleted"] is bool(given.get("deleted"))


@pytest.mark.parametrize(
    ("of_event", "own", "scope"),
    [
        (["tlp:white"], [], "clear"),
        (["TLP:CLEAR", "tlp:amber"], [], "amber"),
        (["tlp:red"], ["tlp:green"], "green"),
        (["tlp:green"], ["apt"], "green"),
        (["tlp:amber+strict", "tlp:amber"], [], "amber+strict"),
        (["tlp:unclear"], [], None),
        ([], [], None),
    ],
)
def test_the_narrowest_scope_counts_and_the_attributes_own_before_the_events(
    of_event: list[str], own: list[str], scope: str | None, tmp_path: Path
):
    given = attribute("domain", "a.example", Tag=[{"name": tag} for tag in own])
    path = event(tmp_path, given, Tag=[{"name": tag} for tag in of_event])
    (row,) = rows(path)
    assert row["tlp"] == scope
    assert row["confidence"] is None
    assert row["tags"] == ([*of_event, *own] or None)


def test_galaxies_name_malware_and_techniques_and_stay_among_the_tags(tmp_path: Path):
    tags = [
        'misp-galaxy:threat-actor="APT-HERON, also Otter"',
        'misp-galaxy:mitre-malware="Cobalt Strike - S0154"',
        'misp-galaxy:mitre-attack-pattern="Spearphishing Link - T1566.002"',
        'misp-galaxy:mitre-enterprise-attack-attack-pattern="PowerShell - T1086"',
    ]
    path = event(tmp_path, attribute("domain", "a.example"), Tag=[{"name": tag} for tag in tags])
    (row,) = rows(path)
    assert row["malware"] == "Cobalt Strike"
    assert row["techniques"] == ["T1566.002", "T1086"]
    assert row["tags"] == tags


@pytest.mark.parametrize(
    ("given", "first"),
    [
        ({"first_seen": "2026-06-01T10:00:00.000000+02:00"}, datetime(2026, 6, 1, 8, tzinfo=UTC)),
        ({"first_seen": "2026-06-01T10:00:00Z"}, datetime(2026, 6, 1, 10, tzinfo=UTC)),
        ({}, datetime.fromtimestamp(1_781_000_000, UTC)),
        ({"timestamp": None}, datetime(2026, 6, 9, tzinfo=UTC)),
        ({"timestamp": "9" * 30, "first_seen": "soon"}, datetime(2026, 6, 9, tzinfo=UTC)),
    ],
)
def test_it_was_first_seen_when_somebody_says_so(
    given: dict[str, object], first: datetime, tmp_path: Path
):
    (row,) = rows(event(tmp_path, attribute("domain", "a.example", **given)))
    assert row["first_seen"] == first


def test_hashes_of_one_object_are_of_one_file(tmp_path: Path):
    of_file = [
        attribute("md5", MD5, object_relation="md5"),
        attribute("sha256", SHA256, object_relation="sha256"),
        attribute("filename", "x.exe", object_relation="filename", to_ids=False),
        attribute("sha1", SHA1, object_relation="sha1", deleted=True),
    ]
    gone = {"uuid": "g", "name": "domain-ip", "deleted": True}
    objects = [
        {"uuid": "o", "name": "file", "Attribute": of_file},
        gone | {"Attribute": [attribute("domain", "a.example"), attribute("ip-dst", "198.18.0.1")]},
    ]
    found = {row["indicator"]: row for row in rows(event(tmp_path, Object=objects))}
    assert found[MD5]["also"] == [f"sha256:{SHA256}"]
    assert found[SHA256]["also"] == [f"md5:{MD5}"]
    assert found[MD5]["object_name"] == "file"
    assert found["x.exe"]["also"] is None
    # What was taken back of an object, or with it, is no more than context.
    assert [found[name]["deleted"] for name in (SHA1, "a.example", "198.18.0.1")] == [True] * 3
    assert not any(found[name]["detect"] for name in (SHA1, "a.example", "198.18.0.1", "x.exe"))


def test_what_is_no_indicator_stands_in_quarantine_and_refuses_nothing(tmp_path: Path):
    prose = [attribute("text", f"word {n}") for n in range(30)]
    odd = [attribute("domain", None), {"type": "md5", "value": "x"}, {"to_ids": True}]
    found = cleaned(FEED, event(tmp_path, *prose, *odd, attribute("domain", "a.example")))
    assert found.accepted["indicator"].to_list() == ["a.example"]
    assert rejected(found.quarantine) == 33
    assert found.refused == {}


def test_fields_that_are_new_upstream_are_kept_in_raw(tmp_path: Path):
    given = attribute("domain", "a.example", weather="rain", data="TVo=", object_hashes="[[")
    frame = FEED.parse(landed(event(tmp_path, given))).collect()
    assert frame["weather"].to_list() == ["rain"]
    # The content of a sample stays where it was received.
    assert "data" not in frame.columns
    assert frame["object_hashes"].to_list() == [None]


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"Event": {"uuid"',
        "<html>",
        "[1]",
        "[]",
        '{"a": 1}',
        '{"response": []}',
        '{"Event": {"uuid": "e", "date": "2026-06-09", "Attribute": {"0": {}}}}',
        '{"Event": {"uuid": "e", "date": "2026-06-09", "Attribute": ["domain"]}}',
        '{"Event": {"uuid": "e", "date": "2026-06-09", "Object": [{"Attribute": 7}]}}',
        '{"Event": {"uuid": "e", "date": "2026-06-09", "Tag": "x", "Attribute": []}}',
        "[" * 5_000,
    ],
)
def test_what_is_no_event_is_refused(text: str, tmp_path: Path):
    path = tmp_path / "event.json"
    path.write_text(text)
    with pytest.raises(ParseError, match="line 1"):
        FEED.parse(landed(path))
