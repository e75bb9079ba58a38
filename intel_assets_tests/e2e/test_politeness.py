"""Several processes against one host: its rate, its breaker, and what goes on side by side."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from intel_assets.errors import HostUnavailable
from intel_assets.simulator.server import Simulator
from intel_assets_tests.e2e.chaos_child import nursery
from intel_assets_tests.e2e.chaos_world import HOSTS, NOW, Place, assert_sound, last_days, quick

RATE = 8
HOST = HOSTS["tweetfeed"]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(volume=0.05, seed=3) as simulator:
        simulator.clock.set(NOW)
        yield simulator


@pytest.mark.slow
def test_four_processes_at_once_keep_to_the_rate_of_a_host(
    tmp_path: Path, simulator: Simulator
) -> None:
    place = Place(tmp_path, simulator.url)
    days = last_days(7)
    with nursery(place, tmp_path / "scratch", rate_per_second=RATE, burst=4) as runs:
        started = [runs.start("tweetfeed", days[0], days[-1]) for _ in range(4)]
        assert [runs.wait(pid, 120) for pid in started] == [0, 0, 0, 0]
    asked = [request for request in simulator.requests if request.host == HOST]
    assert len(asked) == 4 * len(days)
    assert simulator.most_in_a_window(HOST, 1.0) <= RATE
    assert {request.status for request in asked} <= {200, 304}
    # They also wrote the same partitions at the same time.
    assert_sound(place, quick("tweetfeed"))


@pytest.mark.slow
def test_a_slow_rate_is_a_space_between_requests_over_all_processes(
    tmp_path: Path, simulator: Simulator
) -> None:
    place = Place(tmp_path, simulator.url)
    day = NOW.date()
    with nursery(place, tmp_path / "scratch", rate_per_second=2, burst=1) as runs:
        started = [runs.start("tweetfeed", day, day) for _ in range(4)]
        assert [runs.wait(pid, 120) for pid in started] == [0, 0, 0, 0]
    assert len(simulator.requests) == 4
    assert simulator.most_in_a_window(HOST, 1.0) <= 2


@pytest.mark.slow
def test_a_breaker_that_one_process_opened_holds_back_all_of_them_and_says_until_when(
    tmp_path: Path, simulator: Simulator
) -> None:
    place = Place(tmp_path, simulator.url, threshold=3)
    spec, days = quick("tweetfeed"), last_days(8)
    simulator.faults.add("503", host=HOST, times=None, retry_after=None)
    with nursery(place, tmp_path / "scratch") as runs:
        assert runs.wait(runs.start("tweetfeed", days[0], days[-1]), 60) == 3
        # Four windows are under way at once, so a few more than three were asked.
        asked = len(simulator.requests)
        assert 3 <= asked <= 3 + 4
        simulator.faults.clear()
        others = [runs.start("tweetfeed", days[0], days[-1]) for _ in range(3)]
        assert [runs.wait(pid, 60) for pid in others] == [3, 3, 3]
    results = place.run(spec, days)
    assert len(simulator.requests) == asked, "nobody asks a host whose circuit is open"
    assert {result.state for result in results} == {"failed"}
    error = results[0].error
    assert isinstance(error, HostUnavailable)
    assert timedelta(0) < error.retry_at - datetime.now(UTC) <= timedelta(seconds=30)
    assert f"is not asked again before {error.retry_at:%Y-%m-%d %H:%M:%S} UTC" in str(error)
    # Other hosts have nothing to do with it.
    states = {result.state for result in place.run(quick("urlhaus"), last_days(2))}
    assert states == {"complete"}


@pytest.mark.slow
def test_windows_of_a_source_are_fetched_side_by_side(tmp_path: Path, simulator: Simulator) -> None:
    place = Place(tmp_path, simulator.url)
    simulator.faults.add("timeout", host=HOST, times=4)
    place.run(quick("tweetfeed", read_timeout=3.0, total_timeout=6.0, attempts=1), last_days(4))
    moments = [request.monotonic for request in simulator.requests]
    # Each of them hung for three seconds; one after the other they would be nine apart.
    assert len(moments) == 4
    assert max(moments) - min(moments) < 3.0


@pytest.mark.slow
def test_a_source_whose_host_hangs_does_not_hold_up_another(
    tmp_path: Path, simulator: Simulator
) -> None:
    place = Place(tmp_path, simulator.url)
    simulator.faults.add("timeout", host=HOSTS["urlhaus"], times=None)
    day = NOW.date()
    with nursery(place, tmp_path / "scratch", read_timeout=60.0, total_timeout=60.0) as runs:
        hung = runs.start("urlhaus", day, day)
        deadline = time.monotonic() + 30
        while not simulator.requests and time.monotonic() < deadline:
            time.sleep(0.05)
        assert runs.wait(runs.start("tweetfeed", day, day), 50) == 0
        assert runs.wait(hung, 0) is None, "the other still waits for its host"
        simulator.stop()
        assert runs.wait(hung, 60) is not None
