"""The played MISP feeds: manifest, events and hashes agree; events change, and some come late."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from intel_assets.simulator import misp
from intel_assets.simulator.server import Simulator
from intel_assets.sources import registry

from .conftest import NOW

Found = dict[str, dict[str, Any]]
SAMPLE = Path(__file__).parents[4] / "shared/samples/threat/tweetfeed_misp_feed"

by_feed = pytest.mark.parametrize("host", misp.HOSTS)


def _folder(host: str) -> str:
    return f"/{host}{misp.FEEDS[host][0]}"


def _manifest(client: httpx.Client, host: str) -> Found:
    found: Found = client.get(f"{_folder(host)}/manifest.json").json()
    return found


def _event(client: httpx.Client, host: str, uuid: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"{_folder(host)}/{uuid}.json").json()["Event"]
    return found


def _every(client: httpx.Client, host: str) -> Found:
    return {uuid: _event(client, host, uuid) for uuid in _manifest(client, host)}


def _attributes(event: dict[str, Any]) -> list[dict[str, Any]]:
    return [*event["Attribute"], *(one for each in event["Object"] for one in each["Attribute"])]


class Asked(LookupError):
    """Tells what a source asks for first."""


class Context:
    def get(self, request, window, *, conditional=True):
        raise Asked(request.url)


@pytest.mark.parametrize("name", ["circl_osint", "botvrij"])
def test_each_feed_is_played_where_its_source_asks_for_it(name: str, client: httpx.Client) -> None:
    (spec,) = registry.load([name])
    with pytest.raises(Asked, match=r"/manifest\.json$") as asked:
        list(spec.extract(Context(), None))  # type: ignore[arg-type]
    address = str(asked.value).replace("https:/", "")
    assert address in [f"{_folder(host)}/manifest.json" for host in misp.HOSTS]
    assert client.get(address).status_code == 200


@by_feed
def test_the_manifest_says_of_each_event_what_the_event_says(
    client: httpx.Client, host: str
) -> None:
    manifest, events = _manifest(client, host), _every(client, host)
    assert 10 < len(manifest) < 45
    for uuid, told in manifest.items():
        assert told == {name: events[uuid][name] for name in told}
        assert events[uuid]["uuid"] == uuid
        assert date.fromisoformat(told["date"]) <= NOW.date()
        assert datetime.fromtimestamp(int(told["timestamp"]), UTC) <= NOW
    names = [one["uuid"] for event in events.values() for one in _attributes(event)]
    assert len(names) == len(set(names))
    assert client.get(f"{_folder(host)}/none.json").status_code == 404


@by_feed
def test_the_hashes_are_those_of_all_values_and_of_a_composites_parts(
    client: httpx.Client, host: str
) -> None:
    lines = set(client.get(f"{_folder(host)}/hashes.csv").text.splitlines())
    expected = {
        f"{hashlib.md5(part.encode(), usedforsecurity=False).hexdigest()},{uuid}"
        for uuid, event in _every(client, host).items()
        for one in _attributes(event)
        for part in (one["value"].split("|") if "|" in one["type"] else [one["value"]])
    }
    assert lines == expected


@pytest.mark.slow
def test_an_event_changes_some_days_later_and_says_so(
    simulator: Simulator, client: httpx.Client
) -> None:
    host = misp.HOSTS[0]
    before = _every(client, host)
    simulator.clock.advance(8 * 86_400)
    after = _every(client, host)
    changed = [uuid for uuid in before.keys() & after.keys() if before[uuid] != after[uuid]]
    assert changed
    for uuid in changed:
        earlier, later = before[uuid], after[uuid]
        assert int(later["timestamp"]) > int(earlier["timestamp"])
        assert later["date"] == earlier["date"]
        old, new = ({one["uuid"] for one in _attributes(event)} for event in (earlier, later))
        assert len(old - new) == 1
        assert len(new - old) == 1
        assert [one["deleted"] for one in later["Attribute"]].count(True) == 1
    # Some come late: with a day on which they were not there, and the time of then.
    late = [
        told
        for uuid, told in after.items()
        if uuid not in before and date.fromisoformat(told["date"]) < NOW.date()
    ]
    assert late
    assert all(int(told["timestamp"]) < NOW.timestamp() for told in late)


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the samples are not there")
def test_a_played_event_has_the_fields_of_a_recorded_one(client: httpx.Client) -> None:
    file = next(SAMPLE.glob("*-*.json"))
    recorded = json.loads(file.read_bytes())["Event"]
    (played, *_) = _every(client, misp.HOSTS[0]).values()
    assert set(recorded) - set(played) == {"distribution"}
    assert set(recorded["Attribute"][0]) - set(played["Attribute"][0]) <= {"Tag"}
