from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from intel_assets.errors import ConfigurationError
from intel_assets.simulator.recordings import Recordings
from intel_assets.simulator.server import Simulator


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recordings")
    (root.parent / "secret.csv").write_text("outside")
    (root / "one.host" / "a").mkdir(parents=True)
    (root / "one.host" / "a" / "day.csv").write_text("by host and path")
    (root / "day.csv").write_text("by name")
    (root / "empty.csv").write_bytes(b"")
    (root / "packed.json.gz").write_bytes(gzip.compress(b'{"packed": true}'))
    (root / "leak.csv").symlink_to(root.parent / "secret.csv")
    return root


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    with (
        Simulator(recordings=folder) as simulator,
        httpx.Client(base_url=simulator.url) as client,
    ):
        yield client


def test_a_body_recorded_for_the_host_and_path_comes_first(client: httpx.Client) -> None:
    assert client.get("/one.host/a/day.csv").text == "by host and path"


def test_else_a_file_with_the_last_name_of_the_path(client: httpx.Client) -> None:
    assert client.get("/two.host/x/y/day.csv?auth-key=k").text == "by name"
    assert client.get("/two.host/x/y/day.csv/").text == "by name"


def test_an_empty_recording_is_an_empty_200_and_none_is_404(client: httpx.Client) -> None:
    empty = client.get("/one.host/empty.csv")
    assert (empty.status_code, empty.content) == (200, b"")
    missing = client.get("/one.host/never.csv")
    assert (missing.status_code, missing.text) == (404, "404: Not Found")


def test_a_packed_recording_is_unpacked_unless_it_is_asked_for_packed(
    client: httpx.Client,
) -> None:
    answer = client.get("/one.host/packed.json")
    assert answer.json() == {"packed": True}
    assert answer.headers["Content-Type"] == "application/json"
    assert gzip.decompress(client.get("/one.host/packed.json.gz").content) == answer.content


def test_an_unchanged_recording_costs_a_304(client: httpx.Client) -> None:
    known = {"If-None-Match": client.get("/one.host/a/day.csv").headers["ETag"]}
    assert client.get("/one.host/a/day.csv", headers=known).status_code == 304


def test_only_get_is_answered(client: httpx.Client) -> None:
    assert client.post("/one.host/a/day.csv").status_code == 405


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("one.host", "../secret.csv"),
        ("one.host", "a/../../../secret.csv"),
        ("..", "secret.csv"),
        ("one.host", "..\\secret.csv"),
        ("one.host", "a/\0"),
        ("one.host", ""),
        ("", "/"),
        ("any.host", "leak.csv"),
    ],
)
def test_no_path_leads_out_of_the_folder(folder: Path, host: str, path: str) -> None:
    assert Recordings(folder).find(host, path) is None


def test_an_encoded_way_out_is_404_on_the_wire(client: httpx.Client) -> None:
    assert client.get("/one.host/%2e%2e/%2e%2e/secret.csv").status_code == 404
    assert client.get("/one.host/%2e%2e%2fsecret.csv").status_code == 404


def test_played_hosts_stay_played_when_only_some_are_recorded(folder: Path) -> None:
    with Simulator(recordings=folder, recorded_hosts=["one.host"]) as simulator:
        assert httpx.get(f"{simulator.url}/one.host/day.csv").text == "by name"
        played = httpx.get(f"{simulator.url}/urlhaus.abuse.ch/downloads/csv_recent/")
    assert played.text.startswith("####")


def test_faults_are_played_on_recordings_too(folder: Path) -> None:
    with Simulator(recordings=folder) as simulator:
        simulator.faults.add("truncated")
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"{simulator.url}/one.host/day.csv")


def test_a_folder_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not there"):
        Simulator(recordings=tmp_path / "none")
