"""Dagster's event log over connections that stay open: nothing is lost, and little stays open."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

from intel_assets.orchestration.history import forget
from intel_assets.orchestration.storage import HELD_RUNS, HeldEventLog, HeldSqliteStorage

KEY = dg.AssetKey("a")


def opened(
    folder: Path, storage: type[DagsterSqliteStorage] = HeldSqliteStorage
) -> dg.DagsterInstance:
    named = {
        "module": storage.__module__,
        "class": storage.__name__,
        "config": {"base_dir": str(folder / "storage")},
    }
    overrides = {"storage": {"custom": named}, "telemetry": {"enabled": False}}
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(folder), overrides=overrides))


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with opened(tmp_path) as instance:
        yield instance


def check(instance: dg.DagsterInstance, run_id: str, partition: str) -> None:
    """Tell of a check, as a run of some id does."""
    evaluation = dg.AssetCheckEvaluation(
        asset_key=KEY, check_name="contract", passed=True, partition=partition
    )
    event = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.ASSET_CHECK_EVALUATION.value,
        job_name="a",
        event_specific_data=evaluation,
    )
    instance.report_dagster_event(event, run_id=run_id)


def materialize(instance: dg.DagsterInstance, partition: str) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization(KEY, partition=partition))


def materialize_many(folder: Path, first: int) -> None:
    """Tell of many partitions, from a process of its own."""
    with opened(folder) as instance:
        for number in range(first, first + 25):
            materialize(instance, str(number))


def partitions(instance: dg.DagsterInstance) -> set[str]:
    return set(instance.get_materialized_partitions(KEY))


def test_what_two_processes_and_many_threads_tell_is_all_there(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    spawn = multiprocessing.get_context("spawn")
    others = [
        spawn.Process(target=materialize_many, args=(tmp_path, first)) for first in (100, 200)
    ]
    for process in others:
        process.start()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: materialize(instance, str(number)), range(50)))
    for process in others:
        process.join()
    told = {*range(50), *range(100, 125), *range(200, 225)}
    assert partitions(instance) == {str(number) for number in told}


def test_dagsters_own_storage_reads_what_it_wrote_and_it_reads_what_that_wrote(
    tmp_path: Path,
) -> None:
    with opened(tmp_path) as ours:
        materialize(ours, "1")
        check(ours, "run", "1")
    with opened(tmp_path, DagsterSqliteStorage) as theirs:
        assert partitions(theirs) == {"1"}
        assert len(theirs.all_logs("run")) == 1
        materialize(theirs, "2")
        check(theirs, "run", "2")
    with opened(tmp_path) as ours:
        assert partitions(ours) == {"1", "2"}
        assert len(ours.all_logs("run")) == 2


def test_the_log_of_a_run_that_was_forgotten_is_empty_and_takes_what_comes(
    instance: dg.DagsterInstance,
) -> None:
    check(instance, "run", "1")
    log = instance.event_log_storage
    assert isinstance(log, HeldEventLog)
    file, long_ago = Path(log.path_for_shard("run")), datetime(2020, 1, 1, tzinfo=UTC)
    os.utime(file, (long_ago.timestamp(), long_ago.timestamp()))
    assert forget(instance, datetime.now(UTC) - timedelta(days=30)).logs == 1
    assert not file.exists()
    assert instance.all_logs("run") == []
    check(instance, "run", "2")
    assert len(instance.all_logs("run")) == 1
    assert file.is_file()


@pytest.mark.skipif(sys.platform != "linux", reason="counts the open files of /proc")
def test_the_files_of_few_runs_stay_open_and_none_when_the_instance_is_closed(
    tmp_path: Path,
) -> None:
    def open_files() -> set[str]:
        links = {link.readlink().name for link in Path("/proc/self/fd").iterdir() if link.exists()}
        return {name for name in links if name.endswith(".db")}

    before = open_files()
    with opened(tmp_path) as instance:
        for number in range(3 * HELD_RUNS):
            check(instance, f"run-{number}", "1")
        held = open_files() - before
        last = {f"run-{number}.db" for number in range(2 * HELD_RUNS, 3 * HELD_RUNS)}
        assert held == {*last, "index.db"}
        assert len(instance.all_logs("run-0")) == 1
    assert open_files() == before
