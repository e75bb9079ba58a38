"""Bodies that speak of some records only: a page of a list, one event of many."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from intel_assets.ingest.documents import Window
from intel_assets_tests.conftest import NOON, MakeLake, TestLake, unhurried

DAY = date(2025, 6, 1)
PAGED = replace(unhurried("tweetfeed"), scope="user")
"""A source whose bodies each hold some people's posts, all of them."""


def line(user: str, number: int) -> str:
    post = f"https://x.com/{user}/status/{number}"
    return f"2025-06-01 10:00:00,{user},ip,198.18.0.{number},#scam,{post}\n"


def land(lake: TestLake, folder: Path, at: datetime, *lines: str) -> None:
    body = folder / f"{at:%H%M%S}.csv"
    body.write_text("".join(lines), encoding="utf-8")
    lake.land(PAGED, {body: Window(DAY, DAY)}, at)


def held(lake: TestLake) -> set[tuple[str, str]]:
    rows = lake.table("raw.tweetfeed").filter(pl.col("known_to").is_null())
    return set(rows.select("user", "value").iter_rows())


def test_a_body_withdraws_only_records_of_those_that_it_holds(make_lake: MakeLake, tmp_path: Path):
    lake = make_lake()
    land(lake, tmp_path, NOON, line("ann", 1), line("ann", 2), line("bob", 3))
    land(lake, tmp_path, NOON + timedelta(hours=1), line("ann", 1), line("eve", 4))
    assert held(lake) == {("ann", "198.18.0.1"), ("bob", "198.18.0.3"), ("eve", "198.18.0.4")}


@pytest.mark.slow
def test_bodies_of_some_records_give_the_same_table_in_any_order(
    make_lake: MakeLake, tmp_path: Path
):
    bodies = [
        [line("ann", 1), line("ann", 2), line("bob", 3)],
        [line("ann", 1), line("eve", 4)],
        [line("bob", 5)],
    ]
    tables = []
    for number, order in enumerate(itertools.permutations(range(3))):
        folder = tmp_path / str(number)
        folder.mkdir()
        lake = make_lake(name=f"lake-{number}")
        for place in order:
            land(lake, folder, NOON + timedelta(hours=place), *bodies[place])
        rows = lake.table("raw.tweetfeed", history=True).sort("record_digest", "known_from")
        tables.append(rows.select("record_digest", "known_from", "known_to").rows())
    assert all(table == tables[0] for table in tables)
