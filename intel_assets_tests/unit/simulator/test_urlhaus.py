from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from intel_assets.simulator.server import Simulator
from intel_assets.simulator.urlhaus_world import UrlhausWorld

from .conftest import NOW

EXPORT = "/urlhaus-api.abuse.ch/files/exports/recent.csv"
OPEN = "/urlhaus.abuse.ch/downloads/csv_recent/"
KEY = {"Auth-Key": "demo-key"}
SAMPLES = Path(__file__).parents[4] / "shared" / "samples" / "threat" / "urlhaus"
COLUMNS = "id,dateadded,url,url_status,last_online,threat,tags,urlhaus_link,reporter"


def _rows(body: str) -> list[dict[str, str]]:
    lines = body.splitlines()
    header = next(line for line in lines if line.startswith("# id,"))
    data = [line for line in lines if not line.startswith("#")]
    names = header.removeprefix("# ").split(",")
    return [dict(zip(names, row, strict=True)) for row in csv.reader(data, strict=True)]


def test_the_export_wants_the_key_in_the_query_or_in_a_header(client: httpx.Client) -> None:
    assert client.get(EXPORT, params={"auth-key": "demo-key"}).status_code == 200
    assert client.get(EXPORT, headers=KEY).status_code == 200


@pytest.mark.parametrize(
    "path", [EXPORT, "/urlhaus-api.abuse.ch/files/exports/recent.json", EXPORT + "?auth-key="]
)
def test_without_a_key_the_export_is_401_in_json(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 401
    assert answer.json()["query_status"] == "unauthorized"


def test_a_wrong_key_is_401_and_named_unknown(client: httpx.Client) -> None:
    answer = client.get(EXPORT, params={"auth-key": "wrong"})
    assert answer.status_code == 401
    assert answer.json()["query_status"] == "unknown_auth_key"


def test_the_old_download_needs_no_key_and_has_the_same_bytes(client: httpx.Client) -> None:
    assert client.get(OPEN).content == client.get(EXPORT, headers=KEY).content


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the real samples are not here")
def test_the_banner_is_the_real_one_but_for_the_time(client: httpx.Client) -> None:
    real = (SAMPLES / "urlhaus_csv_recent_2022-09-13.csv").read_bytes().splitlines(keepends=True)
    played = client.get(OPEN).content.splitlines(keepends=True)
    assert re.sub(rb"\d{4}-.*\d ", b"T ", b"".join(played[:9])) == re.sub(
        rb"\d{4}-.*\d ", b"T ", b"".join(real[:9])
    )


def test_the_dump_is_quoted_throughout_with_a_comment_header_and_plain_line_ends(
    client: httpx.Client,
) -> None:
    body = client.get(OPEN).content
    assert b"\r" not in body
    assert body.endswith(b'"\n')
    lines = body.decode().splitlines()
    assert lines[2] == "# Last updated: 2026-11-18 14:30:00 (UTC)                      #"
    assert lines[8] == "# " + COLUMNS
    assert all(line.startswith('"') and line.endswith('"') for line in lines[9:])


def test_every_row_has_nine_values_and_the_words_of_the_feed(client: httpx.Client) -> None:
    rows = _rows(client.get(OPEN).text)
    assert {row["url_status"] for row in rows} == {"online", "offline"}
    assert any(row["tags"] == "None" for row in rows)
    assert any(row["last_online"] == "" and row["url_status"] == "offline" for row in rows)
    assert all(row["last_online"] for row in rows if row["url_status"] == "online")
    assert all(row["urlhaus_link"].endswith(f"/url/{row['id']}/") for row in rows)
    assert any('"' in row["url"] for row in rows)


def test_older_generations_lack_last_online_or_say_none(client: httpx.Client) -> None:
    oldest = _rows(client.get(OPEN, params={"generation": "2019"}).text)
    assert list(oldest[0]) == COLUMNS.replace("last_online,", "").split(",")
    older = _rows(client.get(OPEN, params={"generation": "2022"}).text)
    assert {row["last_online"] for row in older if row["url_status"] == "online"} == {"None"}
    assert any(row["last_online"] != "None" for row in older)


def test_the_window_rolls_over_thirty_days(simulator: Simulator, client: httpx.Client) -> None:
    first = _rows(client.get(OPEN).text)
    simulator.clock.advance(2 * 86_400)
    second = _rows(client.get(OPEN).text)
    oldest = min(row["dateadded"] for row in second if row["dateadded"] > "2")
    made = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
    assert oldest >= f"{made - timedelta(days=30):%Y-%m-%d %H:%M:%S}"
    gone = {row["id"] for row in first} - {row["id"] for row in second}
    assert sum(row["id"] in gone for row in first[-400:]) > 200
    assert max(row["id"] for row in second) > max(row["id"] for row in first)


def test_a_dump_made_later_brings_late_corrected_and_withdrawn_records(
    simulator: Simulator, client: httpx.Client
) -> None:
    before = {row["id"]: row for row in _rows(client.get(OPEN).text)}
    simulator.clock.advance(86_400)
    after = {row["id"]: row for row in _rows(client.get(OPEN).text)}
    limit = f"{NOW - timedelta(days=20):%Y-%m-%d}"
    recent = {k for k, row in before.items() if row["dateadded"] > limit}
    newest = max(before, key=int)
    late = [k for k in after if int(k) < int(newest) and k not in before]
    corrected = [k for k in recent & after.keys() if before[k]["tags"] != after[k]["tags"]]
    assert late
    assert corrected
    assert recent - after.keys()


def test_within_five_minutes_the_same_bytes_and_after_that_others(
    simulator: Simulator, client: httpx.Client
) -> None:
    first = client.get(OPEN)
    simulator.clock.advance(60)
    assert client.get(OPEN).content == first.content
    simulator.clock.advance(300)
    assert client.get(OPEN).content != first.content


@pytest.mark.parametrize("header", ["ETag", "Last-Modified"])
def test_an_unchanged_dump_costs_a_304_without_a_body(
    simulator: Simulator, client: httpx.Client, header: str
) -> None:
    asks = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}[header]
    known = {asks: client.get(OPEN).headers[header]}
    answer = client.get(OPEN, headers=known)
    assert (answer.status_code, answer.content) == (304, b"")
    simulator.clock.advance(300)
    assert client.get(OPEN, headers=known).status_code == 200


def test_a_date_that_cannot_be_read_does_not_count(client: httpx.Client) -> None:
    assert client.get(OPEN, headers={"If-Modified-Since": "yesterday"}).status_code == 200


def test_gzip_is_used_only_when_asked_for(client: httpx.Client) -> None:
    plain = client.get(OPEN, headers={"Accept-Encoding": "identity"})
    packed = client.get(OPEN, headers={"Accept-Encoding": "br, gzip"})
    refused = client.get(OPEN, headers={"Accept-Encoding": "gzip;q=0"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert "Content-Encoding" not in refused.headers
    assert plain.content == packed.content == refused.content
    assert packed.num_bytes_downloaded < plain.num_bytes_downloaded / 3


def test_the_json_dump_says_the_same_as_the_csv(client: httpx.Client) -> None:
    rows = _rows(client.get(OPEN).text)
    answer = client.get("/urlhaus-api.abuse.ch/files/exports/recent.json", headers=KEY)
    entries = json.loads(answer.content)
    assert list(entries) == [row["id"] for row in rows]
    for row in rows[:500]:
        (entry,) = entries[row["id"]]
        assert entry["dateadded"] == row["dateadded"] + " UTC"
        assert entry["url"] == row["url"]
        assert ",".join(entry["tags"] or ["None"]) == row["tags"]


def test_an_empty_world_is_an_empty_object_and_a_dump_of_comments(
    simulator: Simulator, client: httpx.Client
) -> None:
    simulator.clock.set(datetime(2018, 1, 1, tzinfo=UTC))
    answer = client.get("/urlhaus-api.abuse.ch/files/exports/recent.json", headers=KEY)
    assert answer.json() == {}
    assert _rows(client.get(OPEN).text) == []


def test_the_full_dump_is_a_zip_of_the_last_year() -> None:
    with Simulator(volume=0.05) as simulator:
        simulator.clock.set(NOW)
        answer = httpx.get(
            f"{simulator.url}/urlhaus-api.abuse.ch/files/exports/full.json.zip", headers=KEY
        )
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            entries = json.loads(archive.read(archive.namelist()[0]))
        again = httpx.get(str(answer.url), headers=KEY)
    assert again.content == answer.content
    world = UrlhausWorld(7, 0.05)
    assert len(entries) == len(list(world.published(NOW, NOW - timedelta(days=365))))
    assert min(e[0]["dateadded"] for e in entries.values() if e[0]["dateadded"] > "2") < "2025-11-2"


def test_the_api_gives_three_days_and_takes_the_key_in_the_header_only(
    client: httpx.Client,
) -> None:
    path = "/urlhaus-api.abuse.ch/v1/urls/recent/"
    assert client.get(path, params={"auth-key": "demo-key"}).status_code == 401
    told = client.get(path, headers=KEY).json()
    assert told["query_status"] == "ok"
    assert 300 < len(told["urls"]) <= 1000
    assert all(e["date_added"].endswith(" UTC") for e in told["urls"])
    assert min(e["date_added"] for e in told["urls"] if e["date_added"] > "2") >= "2026-11-15 14:33"


def test_the_api_gives_at_most_the_limit_that_was_asked(client: httpx.Client) -> None:
    def count(limit: int) -> int:
        path = f"/urlhaus-api.abuse.ch/v1/urls/recent/limit/{limit}/"
        return len(client.get(path, headers=KEY).json()["urls"])

    assert count(3) == 3
    assert count(100_000) <= 1000
