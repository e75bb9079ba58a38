from __future__ import annotations

import csv
import io
from datetime import date, timedelta

import httpx
import pytest

from intel_assets.simulator.server import Simulator
from intel_assets.simulator.tweetfeed_world import State, TweetFeedWorld

from .conftest import NOW

ROOT = "/raw.githubusercontent.com/0xDanielLopez/TweetFeed/master"
TODAY = NOW.date()


def _path(day: date) -> str:
    return f"{ROOT}/{day:%Y}/{day:%Y%m}/{day:%Y%m%d}.csv"


def _day(state: State) -> date:
    world = TweetFeedWorld(7)
    return next(d for n in range(4, 900) if world.state(d := TODAY - timedelta(days=n)) == state)


def test_a_day_is_headerless_csv_of_six_values_quoted_only_where_needed(
    client: httpx.Client,
) -> None:
    answer = client.get(_path(_day("published")))
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    rows = list(csv.reader(answer.text.splitlines(), strict=True))
    assert {len(row) for row in rows} == {6}
    assert {row[2] for row in rows} <= {"url", "domain", "ip", "md5", "sha256"}
    assert all(
        row[5] == f"https://x.com/{row[1]}/status/{row[5].rpartition('/')[2]}" for row in rows
    )
    again = io.StringIO(newline="")
    csv.writer(again, quoting=csv.QUOTE_MINIMAL).writerows(rows)
    assert '"' in answer.text
    assert again.getvalue() == answer.text


@pytest.mark.parametrize(
    "path",
    [
        _path(TODAY + timedelta(days=1)),
        _path(date(2021, 8, 1)),
        f"{ROOT}/2026/202611/20261010.csv",
        f"{ROOT}/2026/202602/20260231.csv",
        f"{ROOT}/today.csv",
    ],
)
def test_what_is_not_there_is_githubs_404(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.text) == (404, "404: Not Found")


def test_a_missing_day_is_404_and_an_empty_day_is_an_empty_200(client: httpx.Client) -> None:
    assert client.get(_path(_day("missing"))).status_code == 404
    answer = client.get(_path(_day("empty")), headers={"Accept-Encoding": "identity"})
    assert (answer.status_code, answer.content) == (200, b"")


def test_an_unchanged_day_costs_a_304_for_years(simulator: Simulator, client: httpx.Client) -> None:
    path = _path(_day("published"))
    known = {"If-None-Match": client.get(path).headers["ETag"]}
    simulator.clock.advance(500 * 86_400)
    assert client.get(path, headers=known).status_code == 304


def test_today_is_published_in_part_and_grows(simulator: Simulator, client: httpx.Client) -> None:
    first = client.get(_path(TODAY))
    simulator.clock.advance(4 * 3600)
    second = client.get(_path(TODAY), headers={"If-None-Match": first.headers["ETag"]})
    assert second.status_code == 200
    assert len(second.text) > len(first.text) > 0
    assert second.text.startswith(first.text)
