from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intel_assets.errors import ConfigurationError, IntelError
from intel_assets.simulator.journal import most_in_a_window, redact
from intel_assets.simulator.server import HOSTS, Simulator
from intel_assets.simulator.timeline import SimulatedClock

from .conftest import NOW

URLHAUS = "/urlhaus.abuse.ch/downloads/csv_recent/"
HOST = "urlhaus.abuse.ch"


def test_a_request_is_recorded_without_its_key(simulator: Simulator, client: httpx.Client) -> None:
    client.get("/urlhaus-api.abuse.ch/files/exports/recent.csv?auth-key=demo-key&generation=2019")
    client.get(URLHAUS, headers={"If-None-Match": '"x"'})
    first, second = simulator.requests
    assert (first.host, first.path) == ("urlhaus-api.abuse.ch", "/files/exports/recent.csv")
    assert (first.query, first.status) == ("auth-key=***&generation=2019", 200)
    assert (first.conditional, second.conditional) == (False, True)
    assert first.monotonic < second.monotonic <= time.monotonic()
    assert abs(datetime.now(UTC) - first.at) < timedelta(minutes=1)
    assert "demo-key" not in client.get("/_control/requests").text


@given(st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=4))
def test_a_key_in_a_query_never_stands_in_a_record(canary: str) -> None:
    for name in ("auth-key", "api_key", "apikey", "token", "access_token", "Key", "client_secret"):
        assert redact(f"a=b&{name}=~{canary}~") == f"a=b&{name}=***"


@given(st.lists(st.integers(0, 60), max_size=30), st.integers(min_value=1, max_value=20))
def test_the_busiest_window_is_found(moments: list[int], seconds: int) -> None:
    counts = [sum(m <= other < m + seconds for other in moments) for m in moments]
    assert most_in_a_window(moments, seconds) == max(counts, default=0)


def test_requests_are_counted_per_host(simulator: Simulator, client: httpx.Client) -> None:
    for _ in range(3):
        client.get(f"/{HOST}/nothing")
    client.get("/other.host/nothing")
    assert simulator.most_in_a_window(HOST, 60) == 3
    assert simulator.most_in_a_window("never.asked", 60) == 0


def test_an_unknown_place_is_404_and_says_what_there_is(client: httpx.Client) -> None:
    answer = client.get("/unknown.host/x")
    assert answer.status_code == 404
    assert all(host in answer.text for host in HOSTS)


def test_a_host_above_its_pace_gets_429_and_others_do_not() -> None:
    with Simulator(pace={HOST: 2, "slow.host": 0.5}) as simulator:
        got = [httpx.get(f"{simulator.url}/{HOST}/x") for _ in range(4)]
        slow = [httpx.get(f"{simulator.url}/slow.host/x") for _ in range(2)]
        free = [httpx.get(f"{simulator.url}/other.host/x") for _ in range(4)]
        assert [answer.status_code for answer in got] == [404, 404, 429, 429]
        assert int(got[2].headers["Retry-After"]) == 1
        assert [answer.status_code for answer in slow] == [404, 429]
        assert int(slow[1].headers["Retry-After"]) == 2
        assert {answer.status_code for answer in free} == {404}
        time.sleep(1.05)
        assert httpx.get(f"{simulator.url}/{HOST}/x").status_code == 404


# The clock


def test_the_clock_follows_stands_jumps_and_flows_as_told() -> None:
    base = [NOW]
    clock = SimulatedClock(lambda: base[0])
    base[0] += timedelta(seconds=5)
    assert clock() == NOW + timedelta(seconds=5)
    clock.set(datetime(2026, 1, 1, tzinfo=UTC))
    base[0] += timedelta(seconds=5)
    assert clock() == datetime(2026, 1, 1, tzinfo=UTC)
    clock.advance(60)
    clock.run(10)
    base[0] += timedelta(seconds=6)
    assert clock() == datetime(2026, 1, 1, 0, 2, tzinfo=UTC)
    assert clock.speed == 10


def test_the_clock_refuses_moments_without_a_zone_and_time_that_flows_back() -> None:
    clock = SimulatedClock()
    with pytest.raises(ValueError, match="no zone"):
        clock.set(NOW.replace(tzinfo=None))
    with pytest.raises(ValueError, match="negative"):
        clock.run(-1)


# Steering over HTTP


def test_the_clock_is_read_set_and_pushed_over_http(
    simulator: Simulator, client: httpx.Client
) -> None:
    assert client.get("/_control/clock").json() == {"now": NOW.isoformat(), "speed": 0.0}
    client.put("/_control/clock", json={"now": "2026-05-01T10:00:00Z", "advance_seconds": 60})
    assert simulator.clock() == datetime(2026, 5, 1, 10, 1, tzinfo=UTC)
    assert "2026-05-01 10:00:00" in client.get(URLHAUS).text
    client.put("/_control/clock", json={"speed": 3600})
    time.sleep(0.05)
    assert simulator.clock() > datetime(2026, 5, 1, 10, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    "body",
    ['{"now": "soon"}', '{"speed": -1}', '{"speed": []}', '{"later": 1}', "[]", "{", "\xff"],
)
def test_a_wish_to_the_clock_that_makes_no_sense_is_400_and_changes_nothing(
    simulator: Simulator, client: httpx.Client, body: str
) -> None:
    answer = client.put("/_control/clock", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert simulator.clock() == NOW


def test_faults_are_added_listed_and_taken_back_over_http(client: httpx.Client) -> None:
    first = client.post("/_control/faults", json={"kind": "500", "times": None}).json()["id"]
    second = client.post("/_control/faults", json={"kind": "empty", "host": "raw."})
    assert second.status_code == 201
    assert client.get(URLHAUS).status_code == 500
    (rule, _) = client.get("/_control/faults").json()["faults"]
    assert (rule["id"], rule["kind"], rule["seen"]) == (first, "500", 1)
    client.delete("/_control/faults", params={"id": first})
    assert client.get(URLHAUS).status_code == 200
    assert client.delete("/_control/faults").json() == {"faults": []}


def test_a_fault_that_makes_no_sense_is_400_over_http(client: httpx.Client) -> None:
    answer = client.post("/_control/faults", json={"kind": "tsunami"})
    assert answer.status_code == 400
    assert "Kinds:" in answer.json()["error"]


def test_requests_are_listed_counted_and_forgotten_over_http(client: httpx.Client) -> None:
    client.get(URLHAUS)
    client.get("/other.host/x")
    told = client.get("/_control/requests", params={"host": HOST, "seconds": 10}).json()
    assert [r["path"] for r in told["requests"]] == ["/downloads/csv_recent/"]
    assert told["most_in_a_window"] == 1
    assert client.delete("/_control/requests").json() == {"requests": []}


# Starting and stopping


@pytest.mark.parametrize("fault", ["timeout", "endless", "slow"])
def test_it_stops_at_once_also_with_hung_clients(fault: str) -> None:
    simulator = Simulator()
    url = simulator.start()
    simulator.faults.add(fault, times=None, seconds=0 if fault == "endless" else 60)

    def hang() -> None:
        with (
            contextlib.suppress(httpx.HTTPError),
            httpx.stream("GET", url + URLHAUS, timeout=30) as answer,
        ):
            time.sleep(1)  # does not read: the server's buffers fill up
            answer.read()

    clients = [threading.Thread(target=hang) for _ in range(3)]
    for client in clients:
        client.start()
    while len(simulator.requests) < 3:
        time.sleep(0.01)
    time.sleep(0.1)
    began = time.monotonic()
    simulator.stop()
    assert time.monotonic() - began < 2
    for client in clients:
        client.join(5)
    assert not any(client.is_alive() for client in clients)
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_it_can_be_started_again_and_stopping_twice_is_nothing() -> None:
    simulator = Simulator()
    for _ in range(2):
        url = simulator.start()
        assert httpx.get(url + "/_control/clock").status_code == 200
        with pytest.raises(IntelError, match="runs already"):
            simulator.start()
        simulator.stop()
        simulator.stop()
        assert simulator.url == ""


@pytest.mark.parametrize("host", ["192.0.2.1", "10.0.0.1", "example.org"])
def test_it_listens_on_loopback_only(host: str) -> None:
    with pytest.raises(ConfigurationError, match="127.0.0.1"):
        Simulator().start(host)


def test_a_taken_port_is_said_clearly(simulator: Simulator) -> None:
    port = httpx.URL(simulator.url).port
    assert port
    with pytest.raises(ConfigurationError, match=f"{port}.*Take another port"):
        Simulator().start(port=port)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_forever_ends_cleanly_on_a_signal(number: signal.Signals) -> None:
    program = (
        "from intel_assets.simulator.server import Simulator, run_forever\n"
        "run_forever(Simulator(), started=lambda url: print(url, flush=True))\n"
        "print('stopped')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert httpx.get(url + URLHAUS).status_code == 200
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, "stopped\n", "")
