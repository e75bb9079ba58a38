"""Lists of bad machines: Feodo Tracker, SSLBL and AbuseIPDB."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from intel_assets.errors import ParseError, QuotaExhausted, Unauthorized
from intel_assets.simulator.server import Simulator
from intel_assets.threat import abuseipdb, feodo, sslbl
from intel_assets_tests.conftest import NOON, UNHURRIED, MakeLake
from intel_assets_tests.unit.threat.given import cleaned, landed

FEODO = replace(feodo.SPEC, policy=UNHURRIED)
SSLBL = replace(sslbl.SPEC, policy=UNHURRIED)
ABUSEIPDB = replace(abuseipdb.SPEC, policy=UNHURRIED)
TODAY = NOON.date()


def test_the_recorded_list_of_2022_is_read_whole(samples: Path):
    file = samples / "threat/ip_reputation/feodo_ipblocklist_excerpt_2022-11.json"
    found = cleaned(FEODO, file, datetime(2022, 11, 16, tzinfo=UTC))
    assert found.quarantine.is_empty()
    rows = {row["indicator"]: row for row in found.accepted.iter_rows(named=True)}
    assert len(rows) == 4
    known = rows["51.178.161.32"]
    assert (known["port"], known["country"], known["as_number"]) == (4643, "FR", 16276)
    assert known["first_seen"] == datetime(2021, 1, 17, 7, 44, 46, tzinfo=UTC)
    assert known["last_seen"].date() == date(2022, 11, 15)
    # Nobody said when: it stands in the snapshot since the snapshot's day.
    assert rows["1.234.21.73"]["first_seen"] == datetime(2022, 11, 16, tzinfo=UTC)


def test_the_recorded_list_of_2019_is_read_whole(samples: Path):
    file = samples / "threat/ip_reputation/feodo_ipblocklist_2019-03-05.csv"
    found = cleaned(FEODO, file, datetime(2019, 3, 6, tzinfo=UTC))
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    assert found.quarantine.is_empty()
    assert found.accepted.height == len(lines)
    assert set(found.accepted["malware"]) <= {"Heodo", "Dridex", "TrickBot"}


def test_the_recorded_certificates_are_read_whole(samples: Path):
    file = samples / "threat/excerpts/sslbl_sslblacklist_2024-09-02.csv"
    found = cleaned(SSLBL, file, datetime(2024, 9, 3, tzinfo=UTC))
    assert found.quarantine.is_empty()
    assert found.accepted.height == 8
    first = found.accepted.row(0, named=True)
    assert (first["malware"], first["threat"]) == ("Rhadamanthys", "botnet_cc")
    assert first["first_seen"] == datetime(2024, 9, 2, 6, 17, 52, tzinfo=UTC)
    assert found.accepted["certificate"].all()


@pytest.mark.parametrize("generation", ["2019", "2020", ""])
def test_every_generation_of_the_csv_says_the_same_servers(
    generation: str, played: Simulator, tmp_path: Path
):
    base = f"{played.url}/feodotracker.abuse.ch/downloads/ipblocklist"
    path = tmp_path / "body"
    path.write_bytes(httpx.get(f"{base}.csv?generation={generation}").content)
    found = cleaned(FEODO, path)
    assert found.quarantine.is_empty()
    listed = {(one["ip_address"], one["port"]) for one in httpx.get(f"{base}.json").json()}
    assert set(found.accepted.select("indicator", "port").iter_rows()) == listed


@pytest.mark.parametrize("spec", [FEODO, SSLBL], ids=lambda spec: spec.name)
def test_a_list_is_a_snapshot_of_its_day(spec, make_lake: MakeLake, played: Simulator):
    lake = make_lake(played)
    (result,) = lake.fetch(spec, [TODAY])
    assert result.state == "complete"
    assert set(lake.table(f"cleaned.{spec.name}")["day"]) == {TODAY}
    assert lake.table(f"aggregated.{spec.name}_daily").height == 1


@pytest.mark.parametrize("spec", [FEODO, SSLBL, ABUSEIPDB], ids=lambda spec: spec.name)
@pytest.mark.parametrize("text", ['[{"ip_address": "19', "<html>Back soon</html>", ""])
def test_what_is_no_list_is_refused(spec, text: str, tmp_path: Path):
    path = tmp_path / "body"
    path.write_text(text)
    with pytest.raises(ParseError, match="line 1|missing"):
        spec.parse(landed(path)).collect()


def listed(folder: Path, *addresses: str) -> Path:
    """A list of AbuseIPDB.

    No real body of it could be had: its shape is that of its documentation.
    """
    rows = [
        {
            "ipAddress": address,
            "countryCode": "DE",
            "abuseConfidenceScore": 100,
            "lastReportedAt": "2026-06-10T09:00:00+02:00",
        }
        for address in addresses
    ]
    path = folder / f"{len(addresses)}.json"
    path.write_text(json.dumps({"meta": {"generatedAt": "x"}, "data": rows}))
    return path


def test_addresses_are_of_either_kind(tmp_path: Path):
    found = cleaned(ABUSEIPDB, listed(tmp_path, "198.18.0.1", "2001:DB8:0::1", "198.18.0.300"))
    assert found.accepted.select("indicator", "indicator_type").rows() == [
        ("198.18.0.1", "ipv4"),
        ("2001:db8::1", "ipv6"),
    ]
    first = found.accepted.row(0, named=True)
    assert first["last_seen"] == datetime(2026, 6, 10, 7, tzinfo=UTC)
    assert (first["confidence"], first["country"]) == (100, "DE")
    assert found.quarantine["value"].to_list()[0] == "198.18.0.300"


def test_an_empty_list_is_not_believed(tmp_path: Path):
    with pytest.raises(ParseError, match="no address"):
        ABUSEIPDB.parse(landed(listed(tmp_path)))


def test_what_lies_behind_the_cut_is_not_withdrawn(tmp_path: Path, make_lake: MakeLake):
    lake = make_lake()
    lake.land(ABUSEIPDB, {listed(tmp_path, "198.18.0.1", "198.18.0.2"): None}, NOON)
    lake.land(ABUSEIPDB, {listed(tmp_path, "198.18.0.3"): None}, NOON + timedelta(hours=6))
    assert lake.table("cleaned.abuseipdb").height == 3


@pytest.mark.slow
def test_five_requests_a_day_are_made_and_no_more_also_after_a_restart(
    make_lake: MakeLake, played: Simulator
):
    for number in range(7):
        # A lake that is opened anew each time, as processes do.
        results = make_lake(played).fetch(ABUSEIPDB, [TODAY])
        assert (results[0].error is None) == (number < 5)
    assert isinstance(results[0].error, QuotaExhausted)
    assert len(played.requests) == 5
    played.clock.set(NOON + timedelta(days=1))
    (result,) = make_lake(played).fetch(ABUSEIPDB, [TODAY + timedelta(days=1)])
    assert result.state == "complete"


def test_without_the_right_key_nothing_is_given(make_lake: MakeLake):
    with Simulator(auth_key="another") as simulator:
        simulator.clock.set(NOON)
        (result,) = make_lake(simulator).fetch(ABUSEIPDB, [TODAY])
    assert isinstance(result.error, Unauthorized)
