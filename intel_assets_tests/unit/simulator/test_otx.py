"""The played OTX: its key, its pages, its long lists, and pulses that are modified."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from intel_assets.simulator import otx
from intel_assets.simulator.server import Simulator

from .conftest import NOW

PULSES = f"/{otx.HOST}/api/v1/pulses"
KEY = {"X-OTX-API-KEY": "demo-key"}
MONTH = f"{NOW - timedelta(days=30):%Y-%m-%dT%H:%M:%S}"


def page(client: httpx.Client, path: str = "/subscribed", **query: Any) -> dict[str, Any]:
    answer = client.get(PULSES + path, params=query, headers=KEY)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def every(client: httpx.Client, since: str = MONTH, limit: int = 50) -> list[dict[str, Any]]:
    """All pulses, by following `next`."""
    found, number = page(client, limit=limit, modified_since=since), 1
    pulses = found["results"]
    while found["next"]:
        number += 1
        assert f"page={number}" in found["next"]
        assert f"modified_since={since}" in found["next"]
        found = page(client, limit=limit, modified_since=since, page=number)
        pulses += found["results"]
    assert len(pulses) == found["count"]
    return pulses


@pytest.mark.parametrize("headers", [{}, {"X-OTX-API-KEY": "wrong"}])
def test_without_the_key_nothing_is_given(client: httpx.Client, headers: dict[str, str]) -> None:
    for path in ("/subscribed", "/1/indicators"):
        assert client.get(PULSES + path, headers=headers).status_code == 403


def test_pages_of_any_size_are_the_same_pulses_the_newest_modified_first(
    client: httpx.Client,
) -> None:
    pulses = every(client)
    assert pulses == every(client, limit=7)
    modified = [one["modified"] for one in pulses]
    assert modified == sorted(modified, reverse=True)
    assert min(modified) >= MONTH
    later = f"{NOW - timedelta(days=3):%Y-%m-%dT%H:%M:%S}"
    assert every(client, since=later) == [one for one in pulses if one["modified"] >= later]


def test_a_long_list_is_cut_off_and_given_in_pages(client: httpx.Client) -> None:
    pulses = every(client)
    cut = [one for one in pulses if one["more_indicators"]]
    assert cut
    assert {len(one["indicators"]) for one in cut} == {otx.INLINE}
    path = f"/{cut[0]['id']}/indicators"
    whole = page(client, path, limit=1000)["results"]
    assert len(whole) > otx.INLINE
    first, second = (page(client, path, limit=25, page=number)["results"] for number in (1, 2))
    assert whole[:50] == first + second
    assert client.get(f"{PULSES}/none/indicators", headers=KEY).status_code == 404


def test_a_modified_pulse_comes_again_without_its_first_indicator(
    simulator: Simulator, client: httpx.Client
) -> None:
    before = {one["id"]: one for one in every(client)}
    simulator.clock.advance(2 * 86_400)
    after = {one["id"]: one for one in every(client)}
    modified = [
        name for name in before.keys() & after if after[name]["revision"] > before[name]["revision"]
    ]
    assert modified
    for name in modified:
        earlier, later = before[name], after[name]
        assert later["modified"] > earlier["modified"]
        assert later["created"] == earlier["created"]
        kept = [one["id"] for one in later["indicators"]]
        assert kept[: len(earlier["indicators"]) - 1] == [
            one["id"] for one in earlier["indicators"][1:]
        ]


def test_now_and_then_an_address_is_private_and_expires(client: httpx.Client) -> None:
    listed = [one for pulse in every(client) for one in pulse["indicators"]]
    private = [one for one in listed if one["indicator"] == "192.168.113.98"]
    assert private
    assert all(one["expiration"] for one in private)
    assert len({one["type"] for one in listed}) == 8
