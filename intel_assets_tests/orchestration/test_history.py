"""Dagster's history: what is old goes, and Dagster tells the same of every partition."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as db
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.partition_status_cache import (
    get_and_update_asset_status_cache_value,
)
from dagster._core.storage.runs.schema import RunsTable

from intel_assets.orchestration.history import Forgotten, forget, shrink

NUMBERS = dg.StaticPartitionsDefinition([f"p{number}" for number in range(6)])
ASSETS = [dg.AssetKey("first"), dg.AssetKey("second"), dg.AssetKey("whole")]
CHECK = dg.AssetCheckKey(dg.AssetKey("first"), "good")
NOW = datetime.now(UTC)
MONTH = timedelta(days=30)
CONSOLIDATED = {
    "event_log_storage": {
        "module": "dagster._core.storage.event_log",
        "class": "ConsolidatedSqliteEventLogStorage",
    },
    "run_storage": {"module": "dagster._core.storage.runs", "class": "SqliteRunStorage"},
    "schedule_storage": {
        "module": "dagster._core.storage.schedules",
        "class": "SqliteScheduleStorage",
    },
}


@dg.multi_asset(
    specs=[dg.AssetSpec("first", skippable=True), dg.AssetSpec("second", skippable=True)],
    check_specs=[dg.AssetCheckSpec("good", asset="first")],
    partitions_def=NUMBERS,
    can_subset=True,
    config_schema={"bad": bool, "version": str},
)
def numbered(context: dg.AssetExecutionContext) -> Iterator[Any]:
    given = context.op_execution_context.op_config
    context.log.info("a line of the log")
    print("a line of the output")
    if given["bad"]:
        raise dg.Failure("bad", allow_retries=False)
    for key in ("first", "second"):
        yield dg.AssetMaterialization(
            key, partition=context.partition_key, tags={DATA_VERSION_TAG: given["version"]}
        )
    yield dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("first"),
        check_name="good",
        passed=given["version"] != "v3",
        partition=context.partition_key,
    )


@dg.asset(config_schema={"version": str})
def whole(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
    version = context.op_execution_context.op_config["version"]
    return dg.MaterializeResult(data_version=dg.DataVersion(version))


@dataclass
class Old:
    """An instance with a history."""

    instance: dg.DagsterInstance
    folder: Path
    runs: list[str] = field(default_factory=list)

    def run(self, partition: str | None, version: str = "v1", *, bad: bool = False) -> str:
        """Make a run of a partition, or of the asset that has none."""
        if partition is None:
            config: dict[str, Any] = {"ops": {"whole": {"config": {"version": version}}}}
            assets: list[dg.AssetsDefinition] = [whole]
        else:
            config = {"ops": {"numbered": {"config": {"bad": bad, "version": version}}}}
            assets = [numbered]
        result = dg.materialize(
            assets,
            partition_key=partition,
            run_config=config,
            instance=self.instance,
            raise_on_error=False,
        )
        assert result.success != bad
        self.runs.append(result.run_id)
        return result.run_id

    def make_older(self, run_ids: Sequence[str], days: int = 40) -> None:
        """Make runs look as if they had ended so many days ago."""
        then = (NOW - timedelta(days=days)).replace(tzinfo=None)
        with self.instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
            connection.execute(
                db.update(RunsTable)
                .where(RunsTable.c.run_id.in_(run_ids))
                .values(update_timestamp=then)
            )
        for run_id in run_ids:
            for file in self.folder.rglob(f"{run_id}.db"):
                os.utime(file, (then.timestamp(), then.timestamp()))

    def there(self) -> set[str]:
        """Return the runs that there are."""
        return {run.run_id for run in self.instance.get_runs()}

    def log(self, run_id: str) -> list[str]:
        """Return the lines of a run's log."""
        return [entry.user_message for entry in self.instance.all_logs(run_id)]

    def told(self) -> dict[str, Any]:
        """Return all that Dagster tells of assets, partitions and checks."""
        storage = self.instance.event_log_storage
        found: dict[str, Any] = {}
        for key in ASSETS:
            parts = NUMBERS if key != dg.AssetKey("whole") else None
            for cached in (True, False):
                if not cached:
                    storage.wipe_asset_cached_status(key)
                status = get_and_update_asset_status_cache_value(self.instance, key, parts)
                found[f"{key} status, cached {cached}"] = status and (
                    status.serialized_materialized_partition_subset,
                    status.serialized_failed_partition_subset,
                    status.serialized_in_progress_partition_subset,
                )
            kind = dg.DagsterEventType.ASSET_MATERIALIZATION
            found[f"{key} versions"] = storage.get_latest_tags_by_partition(
                key, kind, [DATA_VERSION_TAG]
            )
            found[f"{key} latest"] = storage.get_latest_storage_id_by_partition(key, kind)
            event = self.instance.get_latest_materialization_event(key)
            found[f"{key} event"] = event and event.run_id
        found["checks"] = storage.get_asset_check_partition_info([CHECK])
        found["check"] = {
            key: (record.run_id, record.status)
            for key, record in storage.get_latest_asset_check_execution_by_key([CHECK]).items()
        }
        return found

    def size(self) -> int:
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())


@pytest.fixture(params=["a file a run", "one database"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Old]:
    overrides: dict[str, Any] = {"telemetry": {"enabled": False}}
    if request.param == "one database":
        overrides |= {
            name: {**given, "config": {"base_dir": str(tmp_path)}}
            for name, given in CONSOLIDATED.items()
        }
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=overrides) as instance:
        yield Old(instance, tmp_path)


@pytest.mark.slow
def test_old_runs_go_but_for_those_that_say_last_how_something_stands(old: Old) -> None:
    superseded = [old.run("p0", "v1"), old.run("p0", "v2"), old.run("p1", "v1", bad=True)]
    superseded += [old.run("p3", bad=True), old.run(None, "v1")]
    latest = [old.run("p0", "v3"), old.run("p1", "v2"), old.run("p2", bad=True)]
    latest += [old.run("p3", "v1"), old.run("p4", "v1"), old.run("p4", bad=True)]
    latest += [old.run(None, "v2")]
    old.make_older(old.runs)
    before, size = old.told(), old.size()
    done = forget(old.instance, NOW - MONTH)
    assert (done.runs, done.logs, done.more) == (len(superseded), len(latest), False)
    assert old.there() == set(latest)
    assert old.told() == before
    if old.instance.event_log_storage.is_run_sharded:
        assert shrink(old.instance, worth=0) >= 0
        assert old.size() < size - done.freed // 2
    assert old.told() == before
    assert not any("a line of the log" in old.log(run_id) for run_id in old.runs)
    assert forget(old.instance, NOW - MONTH).runs == 0


def test_a_run_that_comes_after_is_like_any_other(old: Old) -> None:
    old.run("p0", "v1")
    old.run("p1", "v1")
    old.make_older(old.runs)
    forget(old.instance, NOW - MONTH)
    last = old.run("p0", "v2")
    assert "a line of the log" in old.log(last)
    old.make_older([last], days=35)
    assert forget(old.instance, NOW - MONTH).runs == 1
    assert last in old.there()


def test_runs_that_are_young_or_have_not_ended_are_left_alone(old: Old) -> None:
    young = [old.run("p0", "v1"), old.run("p0", "v2")]
    job = dg.Definitions(assets=[numbered]).resolve_implicit_global_asset_job_def()
    under_way = old.instance.create_run_for_job(
        job,
        run_config={"ops": {"numbered": {"config": {"bad": False, "version": "v1"}}}},
        status=dg.DagsterRunStatus.STARTED,
    )
    old.make_older([under_way.run_id])
    assert forget(old.instance, NOW - MONTH) == Forgotten()
    assert old.there() == {*young, under_way.run_id}
    assert "a line of the log" in old.log(young[0])


def test_a_call_forgets_so_many_runs_the_oldest_first(old: Old) -> None:
    runs = [old.run("p0", f"v{number}") for number in range(5)]
    old.make_older(runs)
    done = forget(old.instance, NOW - MONTH, most=2)
    assert (done.runs, done.more) == (2, True)
    assert old.there() == set(runs[2:])
    done = forget(old.instance, NOW - MONTH, most=2)
    assert (done.runs, done.more) == (2, False)
    assert old.there() == {runs[4]}


def test_events_without_a_run_go_when_later_ones_replaced_them(old: Old) -> None:
    for version in ("v1", "v2"):
        for partition in ("p0", "p1"):
            old.instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    "first", partition=partition, tags={DATA_VERSION_TAG: version}
                )
            )
    old.run("p1", "v3")
    storage = old.instance.event_log_storage
    month_ago = (NOW - 2 * MONTH).replace(tzinfo=None)
    connections = [storage.index_connection()]  # type: ignore[attr-defined]
    if storage.is_run_sharded:
        connections.append(storage.run_connection(""))  # type: ignore[attr-defined]
    for one in connections:
        with one as connection:
            connection.execute(
                db.update(SqlEventLogStorageTable)
                .where(SqlEventLogStorageTable.c.run_id == "")
                .values(timestamp=month_ago)
            )
    before = old.told()
    assert forget(old.instance, NOW - MONTH).events == 3
    assert old.told() == before
    assert forget(old.instance, NOW - MONTH).events == 0


def test_checks_that_were_reported_by_a_landing_go_with_their_log(old: Old) -> None:
    for number in range(3):
        evaluation = dg.DagsterEvent(
            event_type_value=dg.DagsterEventType.ASSET_CHECK_EVALUATION.value,
            job_name="numbered",
            event_specific_data=dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey("first"),
                check_name="good",
                passed=number != 1,
                partition="p0",
            ),
        )
        old.instance.report_dagster_event(evaluation, run_id=f"cli-{number}")
        then = (NOW - 2 * MONTH).timestamp()
        for file in old.folder.rglob(f"cli-{number}.db"):
            os.utime(file, (then, then))
    before = old.told()
    forget(old.instance, NOW - MONTH)
    assert old.told() == before
    assert not list(old.folder.rglob("cli-*.db"))
