"""Assets: a source through Dagster. Every day its own truth, from a run to its data and back."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import dagster as dg
import polars as pl
import pytest

from intel_assets.lakehouse.ops import Journal
from intel_assets.simulator.server import Simulator
from intel_assets_tests.orchestration.conftest import Installation, Month, published_days

LAYERS = (("raw", "tweetfeed"), ("cleaned", "tweetfeed"), ("aggregated", "tweetfeed_daily"))
VERSION_TAG = "dagster/data_version"


def _versions(installation: Installation, layer: str, name: str) -> dict[str, str]:
    return {
        event.partition: (event.tags or {})[VERSION_TAG]
        for event in installation.materializations(layer, name)
        if event.partition
    }


def _rows(installation: Installation, layer: str, name: str) -> dict[str, int]:
    table = pl.read_delta(str(installation.settings.layout.table_uri(layer, name)))
    return {str(day): rows for day, rows in table.group_by("day").len().iter_rows()}


def test_a_range_with_one_poisoned_day_materializes_every_other_day_of_every_layer(month: Month):
    for layer, name in LAYERS:
        found = [event.partition for event in month.installation.materializations(layer, name)]
        assert sorted(found) == month.good  # one event a day, none twice


def test_dagster_counts_exactly_the_poisoned_day_as_failed(month: Month):
    for layer, name in LAYERS:
        found = month.installation.statuses(layer, name)
        assert [day for day, state in found.items() if state == "failed"] == [str(month.poisoned)]
        assert sorted(day for day, s in found.items() if s == "materialized") == month.good


@pytest.mark.slow
def test_the_failure_names_the_source_the_day_and_the_reason(month: Month):
    message = month.outcome.message or ""
    assert "tweetfeed: 1 of 30 days failed" in message
    assert f"{month.poisoned}: tweetfeed {month.poisoned}, body" in message
    assert "line 1: this is a page and no list" in message
    assert month.outcome.exit_code == 5


def test_the_failure_is_not_retried_and_lists_its_days_for_machines(month: Month):
    run = month.installation.instance.get_run_by_id(month.outcome.run_id)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.FAILURE
    events = month.installation.instance.all_logs(run.run_id)
    failure = next(
        event.dagster_event.step_failure_data.user_failure_data
        for event in events
        if event.dagster_event and event.dagster_event.is_step_failure
    )
    assert failure.metadata["failed_days"].value == [str(month.poisoned)]
    kinds = {event.dagster_event.event_type for event in events if event.dagster_event}
    assert dg.DagsterEventType.STEP_UP_FOR_RETRY not in kinds


def test_a_materialization_tells_the_rows_that_its_partition_holds(month: Month):
    for layer, name in LAYERS:
        stored = _rows(month.installation, layer, name)
        for event in month.installation.materializations(layer, name):
            assert event.metadata["dagster/partition_row_count"].value == stored.get(
                event.partition or "", 0
            )


def test_a_materialization_tells_numbers_a_person_would_plot_as_numbers(month: Month):
    (event, *_) = month.installation.materializations("cleaned", "tweetfeed")
    for name in ("dagster/partition_row_count", "delta_version", "rejected"):
        assert isinstance(event.metadata[name], dg.IntMetadataValue)


def test_each_day_has_a_data_version_of_its_own_content(month: Month):
    for layer, name in LAYERS:
        found = _versions(month.installation, layer, name)
        assert len(set(found.values())) == len(found) == 29


def test_the_run_leads_to_its_data_and_the_data_back_to_the_run(month: Month):
    installation = month.installation
    for layer, name in LAYERS:
        commits = {
            commit["version"]: commit for commit in installation.table(layer, name).history()
        }
        for event in installation.materializations(layer, name):
            commit = commits[event.metadata["delta_version"].value]
            assert commit["run_id"] == month.outcome.run_id
            assert commit["source"] == "tweetfeed"
            assert commit["code_version"] == installation.specs["tweetfeed"].code_version
            assert commit["operation"] == "WRITE"


def test_check_evaluations_are_stored_with_their_partition(month: Month):
    storage = month.installation.instance.event_log_storage
    for layer, check in (("raw", "schema_drift"), ("cleaned", "contract")):
        key = dg.AssetCheckKey(dg.AssetKey([layer, "tweetfeed"]), check)
        records = storage.get_asset_check_execution_history(key, limit=100)
        found = {record.partition: record.status.value for record in records}
        assert sorted(day for day, state in found.items() if state == "SUCCEEDED") == month.good
        assert len(records) == 30
        assert found[str(month.poisoned)] == "PLANNED"  # It was to be looked at, and never was.


def test_the_lake_says_of_the_poisoned_day_what_dagster_says(month: Month):
    state = Journal(month.installation.settings.layout, "tweetfeed").partitions([month.poisoned])
    assert state.select("layer", "state", "run_id").rows() == [
        ("raw", "failed", month.outcome.run_id)
    ]


@pytest.mark.slow
def test_a_rerun_heals_the_day_and_leaves_the_data_versions_of_the_others_as_they_were(
    installation: Installation, simulator: Simulator
):
    days = published_days(4)
    simulator.faults.add("garbage", path=f"{days[1]:%Y%m%d}.csv")
    assert installation.run("tweetfeed", days).message
    before = {names: _versions(installation, *names) for names in LAYERS}
    commits = {names: installation.table(*names).version() for names in LAYERS}
    outcome = installation.run("tweetfeed", days)
    assert outcome.message is None
    for names in LAYERS:
        after = _versions(installation, *names)
        assert sorted(after) == [str(day) for day in days]
        assert {day: after[day] for day in before[names]} == before[names]
        assert installation.table(*names).version() == commits[names] + 1
        assert set(installation.statuses(*names).values()) == {"materialized"}


@pytest.mark.slow
def test_a_rerun_with_unchanged_data_commits_nothing_and_still_names_the_version_it_stands_in(
    installation: Installation,
):
    days = published_days(3)
    first = installation.run("tweetfeed", days)
    before = {names: installation.materializations(*names) for names in LAYERS}
    commits = {names: installation.table(*names).version() for names in LAYERS}
    second = installation.run("tweetfeed", days)
    assert (first.message, second.message) == (None, None)
    for names in LAYERS:
        assert installation.table(*names).version() == commits[names]
        again = installation.materializations(*names)[3:]
        assert [event.partition for event in again] == [str(day) for day in days]
        for old, new in zip(before[names], again, strict=True):
            assert new.tags == old.tags
            assert new.metadata["written"].value is False
            assert new.metadata["delta_version"] == old.metadata["delta_version"]


def test_a_day_that_is_not_published_is_no_materialization_and_no_failure(
    installation: Installation, simulator: Simulator
):
    before_its_file = date(2025, 6, 11)  # The played clock stands at noon the day before.
    outcome = installation.run("tweetfeed", [before_its_file])
    assert outcome.message is None
    assert installation.materializations("raw", "tweetfeed") == []
    found = Journal(installation.settings.layout, "tweetfeed").partitions([before_its_file])
    assert found["state"].to_list() == ["missing"]


def test_an_empty_day_is_a_materialization_of_no_rows(
    installation: Installation, simulator: Simulator
):
    day = published_days(1)[0]
    simulator.faults.add("empty", path=f"{day:%Y%m%d}.csv")
    assert installation.run("tweetfeed", [day]).message is None
    for names in LAYERS:
        (event,) = installation.materializations(*names)
        assert event.metadata["dagster/partition_row_count"].value == 0


@pytest.mark.slow
def test_one_fetch_of_the_dump_materializes_every_day_asked_for(
    installation: Installation, simulator: Simulator
):
    days = [date(2025, 6, 1) + timedelta(days=i) for i in range(8)]
    assert installation.run("urlhaus", days).message is None
    assert [request.path for request in simulator.requests] == ["/files/exports/recent.csv"]
    found = {event.partition for event in installation.materializations("raw", "urlhaus")}
    assert found >= {str(day) for day in days}


@pytest.mark.slow
def test_records_without_a_day_are_kept_and_make_no_materialization(
    installation: Installation, simulator: Simulator
):
    simulator.clock.set(datetime(2025, 6, 10, 12, tzinfo=UTC))
    installation.run("urlhaus", [date(2025, 6, 9)])
    table = installation.table("raw", "urlhaus")
    days = {part["day"] for part in table.partitions()}
    found = {event.partition for event in installation.materializations("raw", "urlhaus")}
    assert "1970-01-01" not in found
    assert found == days - {"1970-01-01"}


def test_a_host_that_is_down_fails_its_days_with_the_exit_code_of_upstream(
    installation: Installation, simulator: Simulator
):
    simulator.faults.add("unauthorized", times=None)
    outcome = installation.run("tweetfeed", published_days(2))
    assert outcome.exit_code == 4
    assert "2 of 2 days failed" in (outcome.message or "")
    assert installation.materializations("raw", "tweetfeed") == []
