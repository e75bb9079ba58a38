"""A contender of the events benchmark: `python -m benchmarks.events_work dagster|ours FOLDER`."""

from __future__ import annotations

import json
import sys
import time

import dagster as dg
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

from intel_assets.orchestration.storage import HeldSqliteStorage

DAYS = 60
STORAGES = {"dagster": DagsterSqliteStorage, "ours": HeldSqliteStorage}


def store(instance: dg.DagsterInstance, day: int) -> None:
    """Tell of a day what a source does: a materialization, and a check of it."""
    key, partition = dg.AssetKey("a"), str(day)
    instance.report_runless_asset_event(
        dg.AssetMaterialization(key, partition=partition, metadata={"rows": day})
    )
    check = dg.AssetCheckEvaluation(
        asset_key=key, check_name="contract", passed=True, partition=partition
    )
    event = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.ASSET_CHECK_EVALUATION.value,
        job_name="a",
        event_specific_data=check,
    )
    instance.report_dagster_event(event, run_id="a-run")


def main(contender: str, folder: str) -> None:
    """Measure, and say what an event takes."""
    storage = STORAGES[contender]
    overrides = {
        "storage": {
            "custom": {
                "module": storage.__module__,
                "class": storage.__name__,
                "config": {"base_dir": folder},
            }
        }
    }
    with dg.instance_for_test(overrides=overrides) as instance:
        store(instance, 0)
        began = time.perf_counter()
        for day in range(1, DAYS + 1):
            store(instance, day)
        seconds = time.perf_counter() - began
    print(json.dumps({"milliseconds": seconds * 1000 / (2 * DAYS)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
