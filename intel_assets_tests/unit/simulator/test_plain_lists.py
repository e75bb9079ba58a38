"""The played lists: their form, their churn, and when they are made anew."""

from __future__ import annotations

from datetime import datetime, timedelta
from ipaddress import IPv4Network

import httpx
import pytest

from intel_assets.simulator.plain_lists import LISTS
from intel_assets.simulator.plain_lists_world import PlainListWorld, PlayedList
from intel_assets.simulator.server import Simulator
from intel_assets.sources import registry

from .conftest import NOW

ROOT = "/raw.githubusercontent.com"
IPSUM = f"{ROOT}/stamparm/ipsum/master/ipsum.txt"
NOBODYS = IPv4Network("198.18.0.0/15")

by_name = pytest.mark.parametrize("played", LISTS, ids=lambda one: one.name)


def _addresses(world: PlainListWorld, now: datetime) -> set[str]:
    return {one.address for one in world.entries(world.made(now))}


@by_name
def test_a_list_is_played_where_its_source_asks_for_it(
    played: PlayedList, client: httpx.Client
) -> None:
    (spec,) = registry.load([played.name])
    asked: list[str] = []

    class Context:
        def get(self, request, window):
            asked.append(request.url)

    list(spec.extract(Context(), None))  # type: ignore[arg-type]
    assert asked == [f"https://{played.host}/{played.path}"]
    answer = client.get(f"/{played.host}/{played.path}")
    assert (answer.status_code, answer.headers["content-type"]) == (
        200,
        "text/plain; charset=utf-8",
    )


@by_name
def test_a_list_holds_each_address_once_and_none_that_a_machine_has(
    played: PlayedList, client: httpx.Client
) -> None:
    lines = client.get(f"/{played.host}/{played.path}").text.splitlines()
    found = [line.split()[0] for line in lines if not line.startswith(("#", ";"))]
    assert len(found) == len(set(found)) > 0.95 * played.size
    assert all(IPv4Network(entry).subnet_of(NOBODYS) for entry in found)
    assert all(("/" in entry) == played.ranges for entry in found)


def test_ipsum_begins_with_a_head_and_counts_down(client: httpx.Client) -> None:
    lines = client.get(IPSUM).text.splitlines()
    assert lines[3] == "# Last update: Wed, 18 Nov 2026 03:00:00 +0200"
    assert lines[:6] == [line for line in lines[:7] if line.startswith("# ") or line == "#"][:6]
    counts = [int(line.split("\t")[1]) for line in lines if not line.startswith("#")]
    assert counts == sorted(counts, reverse=True)
    assert set(counts) <= set(range(1, 11))
    assert len(set(counts)) > 4


@by_name
def test_about_two_percent_of_a_list_change_in_a_day(played: PlayedList) -> None:
    world = PlainListWorld(played, 7)
    days = [_addresses(world, NOW - timedelta(days=back)) for back in range(10)]
    for today, before in zip(days, days[1:], strict=False):
        assert 0.003 < len(today - before) / len(today) < 0.06
        assert abs(len(today) - len(before)) < 0.01 * len(today)
    assert len(days[0] - days[-1]) > 0.1 * len(days[0])


@by_name
def test_another_seed_is_another_list_and_volume_multiplies_it(played: PlayedList) -> None:
    world, other = PlainListWorld(played, 7), PlainListWorld(played, 8, volume=0.1)
    assert _addresses(world, NOW) == _addresses(PlainListWorld(played, 7), NOW)
    assert len(_addresses(world, NOW) & _addresses(other, NOW)) < 10
    assert abs(len(_addresses(other, NOW)) - played.size / 10) <= 2


def test_a_list_is_unchanged_until_it_is_made_anew(
    simulator: Simulator, client: httpx.Client
) -> None:
    first = client.get(IPSUM)
    known = {"If-None-Match": first.headers["ETag"]}
    simulator.clock.set(datetime.fromisoformat("2026-11-19T00:59:59Z"))
    assert client.get(IPSUM, headers=known).status_code == 304  # on a new day, too
    simulator.clock.advance(1)
    again = client.get(IPSUM, headers=known)
    assert again.status_code == 200
    assert again.text != first.text
