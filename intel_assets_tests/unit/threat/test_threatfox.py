"""ThreatFox: the API, the export, and what both say."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import polars as pl
import pytest

from intel_assets.errors import ParseError, Unauthorized
from intel_assets.simulator.server import Simulator
from intel_assets.threat import threatfox
from intel_assets.threat.threatfox import SPEC
from intel_assets_tests.conftest import NOON, UNHURRIED, MakeLake
from intel_assets_tests.unit.threat.given import cleaned, landed

QUICK = replace(SPEC, policy=UNHURRIED)


def test_the_recorded_export_is_read_whole(samples: Path):
    file = samples / "threat/excerpts/threatfox_export_csv_recent_2026-07-04.csv"
    found = cleaned(SPEC, file)
    assert found.quarantine.is_empty()
    rows = {row["ioc_id"]: row for row in found.accepted.iter_rows(named=True)}
    assert set(rows) == {1844855, 1844853, 1844827}
    server = rows[1844853]
    assert (server["indicator_type"], server["port"]) == ("ipv4", 5555)
    assert server["malware"] == "Cobalt Strike"
    assert server["last_seen"] == datetime(2026, 7, 4, 22, 46, 23, tzinfo=UTC)
    assert server["compromised"] is False
    assert rows[1844855]["tags"] == ["ClearFake", "win-0x4679", "windows"]
    assert rows[1844855]["indicator_type"] == "hostname"
    assert rows[1844827]["indicator"].endswith("/path?q=a,b")
    assert rows[1844827]["compromised"] is True


def test_the_recorded_answers_are_read_whole(samples: Path):
    file = samples / "threat/excerpts/threatfox_api_get_iocs_2022-08-05.ndjson"
    found = cleaned(SPEC, file)
    assert found.quarantine.is_empty()
    rows = {row["ioc_id"]: row for row in found.accepted.iter_rows(named=True)}
    six = rows[841508]
    # Without brackets, so the last colon decides.
    assert (six["indicator"], six["indicator_type"], six["port"]) == (
        "2a02:cf40:1::5",
        "ipv6",
        40669,
    )
    assert six["confidence"] == 100
    assert six["compromised"] is None
    assert rows[841507]["indicator"] == "http://malaikahlowry33.top/"
    assert set(found.accepted["day"]) == {datetime(2022, 8, 5, tzinfo=UTC).date()}


def body(folder: Path, text: str) -> Path:
    path = folder / "body"
    path.write_text(text, encoding="utf-8")
    return path


HEADER = (
    '# "first_seen_utc","ioc_id","ioc_value","ioc_type","threat_type","fk_malware",'
    '"malware_printable","last_seen_utc","confidence_level"\r\n'
)
LINE = '"2026-06-10 09:00:00", "7", "{}", "{}", "botnet_cc", "win.x", "X", "", "75"\r\n'


@pytest.mark.parametrize(
    ("value", "named", "indicator", "kind"),
    [
        ("198.18.0.1:80", "ip:port", "198.18.0.1", "ipv4"),
        ("a" * 40, "sha256_hash", "a" * 40, "sha1"),
        ("A" * 64, "sha256_hash", "a" * 64, "sha256"),
        ("hxxp://a[.]example/", "url", "http://a.example/", "url"),
        ("www[.]Example[.]com", "domain", "www.example.com", "hostname"),
        ("198.18.0.1", "ip:port", None, "ipv4"),
        ("a" * 12, "md5_hash", None, None),
    ],
)
def test_an_indicator_is_what_it_is_and_not_what_it_is_called(
    value: str, named: str, indicator: str | None, kind: str | None, tmp_path: Path
):
    path = body(tmp_path, HEADER + LINE.format(value, named) + "# Number of entries: 1\r\n")
    raw = SPEC.parse(landed(path))
    made = SPEC.clean(
        raw.with_columns(is_compromised=pl.lit(None, pl.String)).with_columns(
            pl.lit(None, pl.String).alias(name) for name in ("reference", "tags")
        )
    ).collect()
    assert made.select("indicator", "indicator_type").row(0) == (indicator, kind)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"query_status": "ok", "data": [{"id": "1", "io', "line 1"),
        ('{"query_status": "illegal_days"}', "illegal_days"),
        (HEADER + LINE.format("a", "domain") + '"2026-06-10 09:00:00", "8"\r\n', "line 3 has 2"),
        ("<html>Be back soon</html>", "header is missing"),
        ("", "header is missing"),
    ],
    ids=["cut off", "refused", "short line", "a page", "nothing"],
)
def test_what_is_no_answer_is_refused_with_where_it_breaks(text: str, said: str, tmp_path: Path):
    with pytest.raises(ParseError, match=said):
        SPEC.parse(landed(body(tmp_path, text))).collect()


def test_a_gap_decides_how_many_days_are_asked_for(make_lake: MakeLake, played: Simulator):
    lake = make_lake(played)
    today = NOON.date()
    for back in (0, 2, 30):
        lake.fetch(QUICK, [today - timedelta(days=back)])
    reached = lake.sql(
        "SELECT min(covers_from) AS since, max(covers_to) AS until FROM ops.fetches "
        "GROUP BY fetch_id ORDER BY since DESC"
    )
    assert [NOON - since for since in reached["since"]] == [
        timedelta(hours=12),
        timedelta(days=2, hours=12),
        timedelta(days=7),
    ]
    assert set(reached["until"]) == {NOON}


@pytest.mark.slow
def test_what_is_told_late_and_what_is_withdrawn_is_seen(make_lake: MakeLake, played: Simulator):
    lake = make_lake(played)
    days = [NOON.date() - timedelta(days=back) for back in range(6)]
    lake.fetch(QUICK, days)
    before = lake.table("cleaned.threatfox")
    played.clock.advance(86_400)
    lake.fetch(QUICK, days)
    after = lake.table("cleaned.threatfox")
    assert before.height > 10
    assert set(before["record_id"]) != set(after["record_id"])
    then = lake.table("cleaned.threatfox", as_of=NOON)
    assert then.drop("known_to").equals(before.drop("known_to"))
    assert lake.sql("SELECT sum(indicators) FROM aggregated.threatfox_daily").item() > 10
    assert lake.table("quarantine.threatfox").is_empty()


def test_without_a_key_nothing_is_given(make_lake: MakeLake, played: Simulator):
    lake = make_lake(played)
    (result,) = [
        one
        for one in lake.fetch(replace(QUICK, extract=_without_key), [NOON.date()])
        if one.requested
    ]
    assert isinstance(result.error, Unauthorized)


def _without_key(context, window):
    yield context.get(
        threatfox.Request(threatfox.API, method="POST", json={"query": "get_iocs"}), window
    )


def test_the_played_export_is_read_as_the_api_is(played: Simulator, tmp_path: Path):
    text = httpx.get(f"{played.url}/threatfox.abuse.ch/export/csv/recent/").text
    assert text.count("\r\n") == text.count("\n")
    assert '", "' in text
    export = cleaned(SPEC, body(tmp_path, text), NOON)
    assert export.quarantine.is_empty()
    assert export.accepted.height > 1
