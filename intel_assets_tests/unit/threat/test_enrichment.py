"""Sources that are asked of single indicators: AbuseIPDB's check, GreyNoise and VirusTotal.

No real body of them could be had: they are played in the shapes of their documentation.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from intel_assets.errors import IntelError, ParseError, QuotaExhausted, Unauthorized
from intel_assets.simulator import enrichment
from intel_assets.simulator.server import Simulator
from intel_assets.sources import registry
from intel_assets.sources.extract import Lookup
from intel_assets.sources.spec import Quota, SourceSpec
from intel_assets.threat import abuseipdb_check, greynoise, virustotal
from intel_assets.threat.lookup import LOOKUPS, recognise, told_of
from intel_assets_tests.conftest import NOON, UNHURRIED, MakeLake, TestLake
from intel_assets_tests.unit.threat.given import cleaned, landed

CHECK = replace(abuseipdb_check.SPEC, policy=UNHURRIED)
GREYNOISE = replace(greynoise.SPEC, policy=UNHURRIED)
VIRUSTOTAL = replace(virustotal.SPEC, policy=UNHURRIED)
EVERY = pytest.mark.parametrize("spec", [CHECK, GREYNOISE, VIRUSTOTAL], ids=lambda spec: spec.name)
ADDRESSES = [f"198.18.0.{number}" for number in range(1, 13)]
FILE = "ab" * 32


def ask(lake: TestLake, spec: SourceSpec, *texts: str) -> Lookup:
    asked = [recognise(text) for text in texts]
    indicators = [(str(one.indicator), str(one.kind)) for one in asked]
    with lake.engine.upstream(spec) as upstream:
        found, _ = lake.engine.pipeline(spec, "run").look_up(indicators, upstream)
    return found


def answered(lake: TestLake, spec: SourceSpec) -> pl.DataFrame:
    return lake.table(f"cleaned.{spec.name}")


def body(folder: Path, told: object) -> Path:
    path = folder / "answer.json"
    path.write_text(json.dumps(told))
    return path


def report(**attributes: Any) -> dict[str, Any]:
    return {"data": {"id": FILE, "type": "file", "attributes": attributes}}


def test_the_lookups_are_those_of_the_registry() -> None:
    assert [spec.name for spec in registry.load() if spec.kind == "lookup"] == list(LOOKUPS)


@pytest.mark.slow
@EVERY
def test_what_is_asked_is_kept_or_unknown_and_not_asked_again_while_it_is_fresh(
    spec: SourceSpec, make_lake: MakeLake, played: Simulator
) -> None:
    lake = make_lake(played)
    first = ask(lake, spec, *ADDRESSES)
    assert first.error is None
    assert set(first.outcomes) == set(ADDRESSES)
    kept = {name for name, outcome in first.outcomes.items() if outcome == "asked"}
    assert kept
    assert set(answered(lake, spec)["indicator"]) == kept
    again = ask(lake, spec, *ADDRESSES)
    assert set(again.outcomes.values()) == {"fresh"}
    assert lake.table(f"raw.{spec.name}").height == len(kept)


@pytest.mark.slow
@EVERY
def test_one_answer_withdraws_no_other_and_a_later_one_of_the_same_day_replaces_it(
    spec: SourceSpec, make_lake: MakeLake, played: Simulator
) -> None:
    hasty = replace(spec, fresh_for=timedelta())
    lake = make_lake(played)
    known = [name for name, got in ask(lake, hasty, *ADDRESSES).outcomes.items() if got == "asked"]
    ask(lake, hasty, known[0])
    assert sorted(answered(lake, hasty)["indicator"]) == sorted(known)


@EVERY
def test_a_quota_that_is_used_up_ends_the_asking_and_says_so(
    spec: SourceSpec, make_lake: MakeLake, played: Simulator
) -> None:
    few = replace(spec, quota=Quota(3))
    found = ask(make_lake(played), few, *ADDRESSES)
    assert isinstance(found.error, QuotaExhausted)
    assert list(found.outcomes) == ADDRESSES[:3]
    assert ask(make_lake(played), few, ADDRESSES[5]).error is not None


@EVERY
def test_a_source_that_has_had_enough_is_not_asked_any_further(
    spec: SourceSpec, make_lake: MakeLake, played: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrichment, "QUOTAS", dict.fromkeys(enrichment.QUOTAS, 2))
    found = ask(make_lake(played), spec, *ADDRESSES)
    assert isinstance(found.error, IntelError)
    assert list(found.outcomes) == ADDRESSES[:2]


@EVERY
def test_a_wrong_key_is_told_and_never_shown(
    spec: SourceSpec,
    make_lake: MakeLake,
    played: Simulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(spec.secrets[0], "wrong-key-12345")
    found = ask(make_lake(played), spec, ADDRESSES[0])
    assert isinstance(found.error, Unauthorized)
    assert "wrong-key-12345" not in str(found.error)


@EVERY
@pytest.mark.parametrize("text", ["{}", "[]", "<html>Back soon</html>", "", '{"data": {"id'])
def test_what_is_no_answer_is_refused(spec: SourceSpec, text: str, tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_text(text)
    with pytest.raises(ParseError, match="line 1"):
        spec.parse(landed(path)).collect()


def test_of_a_name_only_virustotal_is_asked(make_lake: MakeLake, played: Simulator) -> None:
    lake = make_lake(played)
    outcomes = {
        spec.name: ask(lake, spec, "evil.example").outcomes["evil.example"]
        for spec in (CHECK, GREYNOISE, VIRUSTOTAL)
    }
    assert outcomes["abuseipdb_check"] == outcomes["greynoise"] == "not_applicable"
    assert outcomes["virustotal"] in ("asked", "unknown")


def test_a_report_of_a_file_says_its_engines_and_its_other_hashes(tmp_path: Path) -> None:
    told = report(
        md5="cd" * 16,
        sha1="ef" * 20,
        last_analysis_stats={"malicious": 30, "suspicious": 1, "undetected": 29, "harmless": 0},
        last_analysis_date=1_780_000_000,
        first_submission_date=1_770_000_000,
        reputation=-12,
        tags=["peexe", "overlay"],
        popular_threat_classification={"suggested_threat_label": "trojan.x/y"},
        names=["a.exe"],
    )
    row = cleaned(VIRUSTOTAL, body(tmp_path, told)).accepted.row(0, named=True)
    assert (row["indicator"], row["indicator_type"]) == (FILE, "sha256")
    assert row["also"] == [f"md5:{'cd' * 16}", f"sha1:{'ef' * 20}"]
    assert (row["malicious"], row["undetected"], row["confidence"]) == (30, 29, 50)
    assert row["first_seen"] == datetime.fromtimestamp(1_770_000_000, UTC)
    assert row["last_seen"] == datetime.fromtimestamp(1_780_000_000, UTC)
    assert (row["malware"], row["tags"]) == ("trojan.x/y", ["peexe", "overlay"])
    assert row["reference"] == f"https://www.virustotal.com/gui/file/{FILE}"


@pytest.mark.parametrize("attributes", [{}, {"last_analysis_stats": None, "tags": None}])
def test_a_report_of_which_little_is_said_stands_with_what_there_is(
    attributes: dict[str, Any], tmp_path: Path
) -> None:
    found = cleaned(VIRUSTOTAL, body(tmp_path, report(**attributes)))
    row = found.accepted.row(0, named=True)
    assert row["confidence"] is None
    assert row["first_seen"] == datetime(NOON.year, NOON.month, NOON.day, tzinfo=UTC)


def test_answers_are_found_by_any_hash_of_a_file_and_the_newest_counts(
    make_lake: MakeLake, played: Simulator
) -> None:
    lake = make_lake(played)
    hashes = [f"{number:032x}" for number in range(6)]
    found = ask(lake, VIRUSTOTAL, *hashes)
    known = [name for name, outcome in found.outcomes.items() if outcome == "asked"]
    with lake._catalog.connect() as connection:
        for name in known:
            (one,) = told_of(connection, [recognise(name)], ["virustotal"])
            assert (one["source"], one["indicator_type"]) == ("virustotal", "sha256")
        assert told_of(connection, [recognise("ff" * 16)], ["virustotal"]) == []


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"noise": True, "riot": False, "classification": "malicious"}, ("malicious", True, False)),
        ({"noise": False, "riot": True, "classification": "benign"}, ("benign", False, True)),
        ({"noise": True}, (None, True, False)),
    ],
)
def test_greynoise_says_what_an_address_does(
    told: dict[str, Any], said: Sequence[Any], tmp_path: Path
) -> None:
    told = {"riot": False} | told | {"ip": "198.18.0.1", "message": "Success"}
    row = cleaned(GREYNOISE, body(tmp_path, told)).accepted.row(0, named=True)
    assert (row["threat"], row["noise"], row["riot"]) == tuple(said)


def test_a_class_that_greynoise_never_gave_is_quarantined(tmp_path: Path) -> None:
    found = cleaned(GREYNOISE, body(tmp_path, {"ip": "198.18.0.1", "classification": "odd"}))
    assert found.quarantine["column"].to_list() == ["threat"]
