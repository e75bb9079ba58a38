"""The KEV catalogue: its versions, and what it must not be taken for."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from intel_assets.errors import ParseError
from intel_assets.simulator.server import Simulator
from intel_assets.threat.kev import SPEC
from intel_assets_tests.conftest import NOON, UNHURRIED, MakeLake, TestLake
from intel_assets_tests.unit.threat.given import cleaned, landed

QUICK = replace(SPEC, policy=UNHURRIED)


def recorded(samples: Path, version: str, folder: Path) -> tuple[Path, datetime]:
    """A recorded version of the catalogue, and when it was released."""
    packed = samples / f"threat/cisa_kev/kev_{version}.json.gz"
    body = gzip.decompress(packed.read_bytes())
    path = folder / f"{version}.json"
    path.write_bytes(body)
    return path, datetime.fromisoformat(json.loads(body)["dateReleased"])


def land(lake: TestLake, samples: Path, folder: Path, versions: list[str]) -> list[datetime]:
    moments = []
    for version in versions:
        path, released = recorded(samples, version, folder)
        lake.land(QUICK, {path: None}, released + timedelta(hours=1))
        moments.append(released + timedelta(hours=2))
    return moments


def test_a_recorded_catalogue_is_read_whole(samples: Path, tmp_path: Path):
    path, _ = recorded(samples, "2025.01.24", tmp_path)
    found = cleaned(SPEC, path, datetime(2025, 1, 25, tzinfo=UTC))
    assert found.quarantine.is_empty()
    assert found.accepted.height == 1252
    newest = found.accepted.filter(pl.col("indicator") == "CVE-2025-23006").row(0, named=True)
    assert newest["first_seen"] == datetime(2025, 1, 24, tzinfo=UTC)
    assert newest["due"] == date(2025, 2, 14)
    assert (newest["vendor"], newest["cwes"], newest["ransomware"]) == (
        "SonicWall",
        ["CWE-502"],
        False,
    )


@pytest.mark.slow
def test_changes_in_place_and_removals_stand_in_the_history(
    samples: Path, tmp_path: Path, make_lake: MakeLake
):
    lake = make_lake()
    versions = ["2025.05.19", "2025.07.22", "2025.07.24"]
    may, before, after = land(lake, samples, tmp_path, versions)
    for version, moment in zip(versions, (may, before, after), strict=True):
        count = json.loads((tmp_path / f"{version}.json").read_bytes())["count"]
        newest = "SELECT count(*) FROM cleaned.kev WHERE day = (SELECT max(day) FROM cleaned.kev)"
        assert lake.sql(newest, as_of=moment).item() == count
    # 2025-06-09 took CVE-2025-4664 out again: the next snapshot lacks it.
    told = lake.sql(
        "SELECT valid_from, valid_to FROM aggregated.kev_history WHERE cve = 'CVE-2025-4664'"
    )
    assert told.rows() == [(date(2025, 5, 19), date(2025, 7, 22))]
    as_of_may = lake.sql(
        "SELECT valid_to FROM aggregated.kev_history WHERE cve = 'CVE-2025-4664'", as_of=may
    )
    assert as_of_may.rows() == [(None,)]
    # Between the two versions of July it became known that ransomware uses these.
    told = lake.sql(
        "SELECT cve, version, valid_from, ransomware FROM aggregated.kev_history "
        "WHERE cve IN ('CVE-2025-49704', 'CVE-2025-49706') ORDER BY ALL"
    )
    first, second = date(2025, 7, 22), date(2025, 7, 24)
    assert told.rows() == [
        ("CVE-2025-49704", 1, first, False),
        ("CVE-2025-49704", 2, second, True),
        ("CVE-2025-49706", 1, first, False),
        ("CVE-2025-49706", 2, second, True),
    ]


@pytest.mark.slow
def test_versions_landed_in_any_order_give_the_same_history(
    samples: Path, tmp_path: Path, make_lake: MakeLake
):
    tables = []
    versions = ["2025.08.13", "2025.08.14", "2025.08.18"]
    for number, order in enumerate([versions, versions[::-1]]):
        lake = make_lake(name=f"lake-{number}")
        land(lake, samples, tmp_path, order)
        tables.append(lake.sql("FROM aggregated.kev_history"))
    assert tables[0].equals(tables[1])
    assert tables[0]["version"].max() == 2


def catalogue(folder: Path, **changes: object) -> Path:
    entry = {
        "cveID": "cve-2026-1234",
        "vendorProject": "Amber",
        "product": "Brook",
        "vulnerabilityName": "Amber Brook",
        "dateAdded": "2026-06-09",
        "dueDate": "2026-06-30",
        "knownRansomwareCampaignUse": "Known",
        "cwes": "CWE-79, CWE-80",
    }
    whole = {"dateReleased": "2026-06-09T15:00:00.1Z", "count": 1, "vulnerabilities": [entry]}
    path = folder / "kev.json"
    path.write_text(json.dumps(whole | changes))
    return path


def test_weaknesses_may_be_joined_by_commas(tmp_path: Path):
    (row,) = cleaned(SPEC, catalogue(tmp_path)).accepted.iter_rows(named=True)
    assert (row["indicator"], row["cwes"]) == ("CVE-2026-1234", ["CWE-79", "CWE-80"])
    assert row["ransomware"] is True


def test_a_catalogue_that_is_not_whole_is_refused(tmp_path: Path):
    path = catalogue(tmp_path, count=2)
    with pytest.raises(ParseError, match="says 2 entries and holds 1"):
        SPEC.parse(landed(path))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ParseError, match="cut off"):
        SPEC.parse(landed(path))
    path.write_text("[]")
    with pytest.raises(ParseError, match="no catalogue"):
        SPEC.parse(landed(path))


@pytest.mark.slow
def test_an_unchanged_catalogue_is_the_snapshot_of_another_day(
    make_lake: MakeLake, played: Simulator
):
    lake = make_lake(played)
    saturday = NOON + timedelta(days=3)
    played.clock.set(saturday)
    lake.fetch(QUICK, [saturday.date()])
    before = lake.commits("kev")
    played.clock.advance(3600)
    lake.fetch(QUICK, [saturday.date()])
    assert lake.commits("kev") == before
    played.clock.advance(86_400)
    (result,) = lake.fetch(QUICK, [saturday.date() + timedelta(days=1)])
    assert result.state == "complete"
    counts = lake.table("aggregated.kev_daily")["vulnerabilities"]
    assert counts.len() == 2
    assert counts.n_unique() == 1
    outcomes = lake.sql("SELECT outcome FROM ops.fetches ORDER BY received_at")["outcome"]
    assert outcomes.to_list() == ["fetched", "not_modified", "not_modified"]


@pytest.mark.slow
def test_the_played_catalogue_changes_in_place_and_loses_entries(
    make_lake: MakeLake, played: Simulator
):
    lake = make_lake(played)
    for week in range(4):
        played.clock.set(NOON + timedelta(weeks=week))
        lake.fetch(QUICK, [played.clock().date()])
    told = lake.sql("FROM aggregated.kev_history")
    assert (told["version"] > 1).any()
    assert told["valid_to"].drop_nulls().len() > 0
