"""What the gap sensor and the schedules do in one look: what they launch, and why they do not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from dagster import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test
from filelock import FileLock

from intel_assets.coverage.tables import ATTEMPTS, COVERAGE
from intel_assets.lakehouse.tables import Table
from intel_assets.orchestration import schedules, sensors
from intel_assets.settings import Settings
from intel_assets.simulator.server import Simulator
from intel_assets.sources import switches
from intel_assets.sources.spec import SourceSpec
from intel_assets_tests.conftest import MakeLake, TestLake, unhurried

FIRST, LAST = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@dataclass
class World:
    played: Simulator
    lake: TestLake
    settings: Settings
    instance: dg.DagsterInstance
    spec: SourceSpec

    def look(self, cursor: str | None = None) -> dg.SensorResult:
        return sensors.look(self.instance, [self.spec], self.settings, cursor)

    def rows(self, contract: object) -> pl.DataFrame:
        return Table(self.settings.layout, contract).read_where(pl.lit(True))  # type: ignore[arg-type]

    def run(self, status: DagsterRunStatus, **tags: str) -> str:
        run = create_run_for_test(
            self.instance, job_name="urlhaus", status=status, tags={"source": "urlhaus"} | tags
        )
        return run.run_id

    def status(self, run_id: str) -> DagsterRunStatus:
        found = self.instance.get_run_by_id(run_id)
        assert found is not None
        return found.status


@pytest.fixture
def world(
    played: Simulator, make_lake: MakeLake, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    lake = make_lake(played, clock=played.clock)
    settings = lake.engine.settings.model_copy(update={"clock": "simulator"})
    monkeypatch.setattr(schedules, "load_settings", lambda: settings)
    with dg.DagsterInstance.ephemeral() as instance:
        spec = replace(unhurried("urlhaus"), start=date(2026, 5, 1))
        yield World(played, lake, settings, instance, spec)


def test_gaps_become_one_range_run_and_their_attempt_stands_before_it_is_launched(world: World):
    (request,) = world.look().run_requests
    assert (request.tags[FIRST], request.tags[LAST]) == ("2026-05-12", "2026-06-09")
    assert request.job_name == "urlhaus"
    assert request.tags["intel/trigger"] == "gap"
    (attempt,) = world.rows(ATTEMPTS).iter_rows(named=True)
    assert attempt["run_key"] == request.run_key
    assert (attempt["attempt"], attempt["requests"]) == (1, 1)


def test_a_look_right_after_launches_nothing_twice_and_says_why(world: World):
    world.look()
    again = world.look()
    assert not again.run_requests
    assert "a pause after the last attempt" in again.skip_reason.skip_message
    world.played.clock.advance(16 * 60)
    (later,) = world.look().run_requests
    assert later.tags["intel/attempt"] == "2"


def test_a_run_in_flight_is_waited_for(world: World):
    world.run(DagsterRunStatus.STARTING, **{FIRST: "2026-05-12", LAST: "2026-06-09"})
    found = world.look()
    assert not found.run_requests
    assert world.rows(COVERAGE).filter(pl.col("state") == "filling").height == 29


def test_when_there_is_nothing_to_do_it_says_so(world: World):
    with world.lake.engine.upstream(world.spec) as upstream:
        days = [date(2026, 6, n) for n in range(1, 10)]
        list(world.lake.engine.pipeline(world.spec, "r").materialize(days, upstream))
    found = world.look()
    assert not found.run_requests
    assert "no gap to fill in 30 days of 1 sources" in found.skip_reason.skip_message


def test_standing_checks_are_told_when_they_change_and_not_again(world: World):
    first = world.look()
    assert {(e.check_name, e.passed) for e in first.asset_events} == {
        ("no_gaps", False),
        ("no_partitions_left_failed", True),
    }
    second = world.look(first.cursor)  # Now they have been asked for, and the reason says so.
    assert not world.look(second.cursor).asset_events


def test_a_source_that_is_off_is_left_alone(world: World):
    at = world.played.clock()
    switches.switch(world.settings.layout, "urlhaus", on=False, why="tired", who="me", at=at)
    assert not world.look().run_requests
    assert set(world.rows(COVERAGE)["state"]) == {"disabled"}
    skipped = schedules.due(world.spec, world.instance)
    assert isinstance(skipped, dg.SkipReason)
    assert "tired" in str(skipped.skip_message)
    switches.switch(
        world.settings.layout, "urlhaus", on=True, why=None, who="me", at=world.played.clock()
    )


def test_a_run_whose_process_is_gone_is_ended_and_its_days_are_planned_again(world: World):
    run_id = world.run(DagsterRunStatus.STARTED, **{FIRST: "2026-05-12", LAST: "2026-06-09"})
    lock = Path(world.settings.state).absolute() / "runs" / f"{run_id}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    found = world.look()
    assert world.status(run_id) == DagsterRunStatus.FAILURE
    assert len(found.run_requests) == 1


def test_a_run_that_lives_is_left_alone(world: World):
    run_id = world.run(DagsterRunStatus.STARTED, **{FIRST: "2026-05-12", LAST: "2026-06-09"})
    lock = Path(world.settings.state).absolute() / "runs" / f"{run_id}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        assert not world.look().run_requests
    assert world.status(run_id) == DagsterRunStatus.STARTED


def test_a_tick_asks_for_today_and_for_days_whose_records_may_still_come(world: World):
    due = schedules.due(world.spec, world.instance)
    assert isinstance(due, dg.RunRequest)
    assert (due.tags[FIRST], due.tags[LAST]) == ("2026-06-09", "2026-06-10")


def test_a_state_feed_s_tick_asks_for_today_alone(world: World):
    due = schedules.due(unhurried("ipsum"), world.instance)
    assert isinstance(due, dg.RunRequest)
    assert due.tags[FIRST] == due.tags[LAST] == "2026-06-10"


def test_a_tick_does_not_stand_in_line_behind_its_own(world: World):
    world.run(DagsterRunStatus.STARTING, **{"intel/trigger": "schedule"})
    assert isinstance(schedules.due(world.spec, world.instance), dg.SkipReason)


def test_a_source_that_does_not_answer_is_not_hammered_by_its_schedule(world: World):
    from intel_assets.ingest.http import HttpPolicy

    spec = replace(world.spec, policy=HttpPolicy(attempts=1))
    number = world.played.faults.add("500", host="urlhaus-api.abuse.ch")
    world.lake.fetch(spec, [date(2026, 6, 9)])
    skipped = schedules.due(spec, world.instance)
    assert isinstance(skipped, dg.SkipReason)
    assert "has not answered 1 times in a row" in str(skipped.skip_message)
    world.played.clock.advance(6 * 60)
    assert isinstance(schedules.due(spec, world.instance), dg.RunRequest)
    world.played.faults.remove(number)
