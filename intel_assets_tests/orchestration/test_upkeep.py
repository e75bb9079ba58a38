"""The nightly job: what it does to tables, landing and Dagster's history, and what it says."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from deltalake import DeltaTable

from intel_assets.clock import system_clock
from intel_assets.lakehouse.lock import alone
from intel_assets.lakehouse.ops import FETCHES
from intel_assets.lakehouse.tables import Table
from intel_assets.orchestration.upkeep import keep, upkeep_job, upkeep_schedule
from intel_assets_tests.orchestration.conftest import Installation, published_days


def filled(installation: Installation) -> Installation:
    """Return an installation whose journal has many small files."""
    days = published_days(2)
    for _ in range(3):
        assert installation.run("tweetfeed", days).message is None
    return installation


def metadata(result: dg.ExecuteInProcessResult, op: str) -> dict[str, Any]:
    """Return what an op said."""
    (event,) = [
        event
        for event in result.all_events
        if event.is_step_event and event.step_key == op and event.event_type_value == "STEP_OUTPUT"
    ]
    return {name: value.value for name, value in event.step_output_data.metadata.items()}


def run(installation: Installation) -> dg.ExecuteInProcessResult:
    return upkeep_job.execute_in_process(instance=installation.instance, raise_on_error=False)


def small_files(installation: Installation) -> int:
    found = Table(installation.settings.layout, FETCHES).open()
    assert found is not None
    return len(found.file_uris())


@pytest.mark.slow
def test_the_job_keeps_tables_landing_and_history_and_says_in_numbers_what_it_did(
    installation: Installation,
) -> None:
    filled(installation)
    before = small_files(installation)
    result = run(installation)
    assert result.success
    tables = metadata(result, "tables")
    assert before > 4 >= small_files(installation)
    assert tables["before"] - tables["after"] > 0
    assert tables["merged"] >= before
    assert metadata(result, "landing")["marked"] == 0
    assert metadata(result, "history")["runs"] == 0
    assert tables["busy"] is False
    journal = DeltaTable(installation.settings.layout.table_uri("ops", "fetches"))
    assert journal.history(1)[0]["run_id"] == result.run_id


@pytest.mark.slow
def test_a_second_upkeep_or_one_beside_a_backup_goes_home(installation: Installation) -> None:
    filled(installation)
    before = small_files(installation)
    with alone(installation.settings.state) as free:
        assert free
        result = run(installation)
    assert result.success
    assert all(metadata(result, op)["busy"] for op in ("tables", "landing", "history"))
    assert small_files(installation) == before
    assert not any(kept.busy for kept in keep(installation.settings, installation.instance))
    assert small_files(installation) <= 4


@pytest.mark.slow
def test_a_table_that_cannot_be_kept_fails_the_run_and_the_rest_is_done(
    installation: Installation,
) -> None:
    filled(installation)
    log = Path(installation.settings.layout.table_uri("cleaned", "broken")) / "_delta_log"
    log.mkdir(parents=True)
    (log / "00000000000000000000.json").write_text("no log")
    result = run(installation)
    assert not result.success
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    told = failed.step_failure_data.user_failure_data
    assert failed.step_key == "tables"
    assert told is not None
    assert "cleaned.broken" in (told.description or "")
    assert told.metadata["merged"].value > 0
    assert small_files(installation) <= 4
    assert metadata(result, "landing") is not None
    assert metadata(result, "history") is not None


@pytest.mark.slow
def test_old_runs_are_forgotten_after_so_many_days(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(installation)
    before = installation.statuses("raw", "tweetfeed")
    # The moments of runs are the machine's own.
    later = system_clock() + timedelta(days=31)
    monkeypatch.setattr("intel_assets.orchestration.upkeep.system_clock", lambda: later)
    result = run(installation)
    assert metadata(result, "history")["runs"] == 2
    assert len(installation.instance.get_runs()) == 2  # the last of the source, and this
    assert installation.statuses("raw", "tweetfeed") == before


def test_the_schedule_runs_every_night_without_being_switched_on() -> None:
    assert upkeep_schedule.cron_schedule == "30 3 * * *"
    assert upkeep_schedule.execution_timezone == "UTC"
    assert upkeep_schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert upkeep_schedule.job_name == "upkeep"


def test_nothing_of_the_job_is_stored_but_its_events(installation: Installation) -> None:
    result = run(installation)
    assert result.success
    assert not [
        file
        for file in (Path(installation.settings.state).parent / "dagster").rglob("*")
        if file.is_file() and file.name in {"tables", "landing", "history", "result"}
    ]
