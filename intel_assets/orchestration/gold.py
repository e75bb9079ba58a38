"""Gold assets: tables over several sources, rebuilt by themselves where a source changed.

Never in a source's run: a run with one bad day would take gold of all its days along. The
condition asks for a day when the content of one of its sources changed (an equal data version
moves nothing), and for days that were never built; a day that failed waits for the next change,
after the retries of its own run. A table that is made as a whole is asked for in the same way, and
every hour: where nothing changed that costs a look.
Dagster concept: declarative automation.
https://docs.dagster.io/guides/automate/declarative-automation
"""

import warnings
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import dagster as dg
from dagster._utils.warnings import BetaWarning

from intel_assets.coverage.plan import DAYS_IN_A_RUN
from intel_assets.logs import about
from intel_assets.orchestration import freshness, metadata
from intel_assets.orchestration.liveness import alive
from intel_assets.orchestration.resources import LakehouseResource
from intel_assets.settings import Settings
from intel_assets.sources.gold import GoldSpec, build, build_whole
from intel_assets.sources.results import LayerResult

_CONDITION = dg.AutomationCondition
_FREE = ~_CONDITION.in_progress() & ~_CONDITION.any_deps_in_progress()
FOLLOWS = (
    (
        _CONDITION.any_deps_match(_CONDITION.data_version_changed()).since_last_handled()
        | (
            _CONDITION.missing()
            & _CONDITION.any_deps_match(~_CONDITION.missing())
            & ~_CONDITION.execution_failed()
        )
    )
    & _FREE
).with_label("a source's day changed, or was never built")
_HOURLY: dg.AutomationCondition[Any] = _CONDITION.cron_tick_passed("25 * * * *", "UTC")
FOLLOWS_AND_LOOKS = (
    FOLLOWS
    # What changed while the table was made counts as handled with it: it is looked at again.
    | (_HOURLY.since_last_handled() & ~_CONDITION.missing() & _FREE)
).with_label("what it is made of changed, or an hour has passed")


def gold_asset(spec: GoldSpec, starts: date, settings: Settings) -> dg.AssetsDefinition:
    """Turn a gold table into its asset: a partition a day, or none.

    Args:
        spec: The table.
        starts: The first day that any source of any gold table has.
        settings: Where the lake is.
    """
    by_day = spec.grain == "day"
    daily = dg.DailyPartitionsDefinition(
        start_date=starts.isoformat(), timezone="UTC", end_offset=1
    )

    @dg.multi_asset(
        name=step_of(spec),
        specs=[_asset_spec(spec, settings)],
        partitions_def=daily if by_day else None,
        backfill_policy=dg.BackfillPolicy.multi_run(DAYS_IN_A_RUN) if by_day else None,
        pool=spec.name,
        op_tags={"domain": spec.domain},
        retry_policy=dg.RetryPolicy(max_retries=2, delay=15, backoff=dg.Backoff.EXPONENTIAL),
    )
    def materialize(
        context: dg.AssetExecutionContext, lakehouse: LakehouseResource
    ) -> Iterator[dg.AssetMaterialization]:
        with (
            about(run_id=context.run_id, source=spec.name),
            lakehouse.open() as engine,
            alive(engine.settings, context.run_id),
        ):
            if not by_day:
                yield event(build_whole(engine.lake, spec, context.run_id), None)
                return
            days = [date.fromisoformat(key) for key in context.partition_keys]
            results = build(engine.lake, spec, days, context.run_id)
            for day, result in zip(days, results, strict=True):
                yield event(result, day)

    return materialize


def step_of(spec: GoldSpec) -> str:
    """Return the name of the step that makes a table."""
    return f"{spec.name}_gold"


def _asset_spec(spec: GoldSpec, settings: Settings) -> dg.AssetSpec:
    contract = spec.contract
    cleaned = [dg.AssetKey(["cleaned", name]) for name in spec.sources]
    gold = [dg.AssetKey(["aggregated", name]) for name in spec.reads]
    return dg.AssetSpec(
        key=[contract.layer, contract.name],
        deps=[_dep(spec, key) for key in (*cleaned, *gold)],
        description=f"{contract.description}\n\nSQL name: `aggregated.{contract.name}`",
        group_name=spec.domain,
        owners=[spec.owner],
        kinds={"deltalake", "duckdb"},
        tags={"layer": contract.layer, "grain": spec.grain},
        code_version=spec.code_version,
        metadata={
            **metadata.of_table(contract, settings.layout),
            "dagster/column_lineage": metadata.column_lineage(contract, *(gold or cleaned)),
        },
        automation_condition=FOLLOWS if spec.grain == "day" else FOLLOWS_AND_LOOKS,
        freshness_policy=freshness.of_gold(),
        skippable=True,
    )


def _dep(spec: GoldSpec, key: dg.AssetKey) -> dg.AssetDep:
    """Return how a table hangs on another: a day on the same day, and on those that it looks at."""
    if spec.grain == "whole":
        return dg.AssetDep(key)
    with warnings.catch_warnings():
        # Dagster calls the parameter beta; nothing else lets a source begin later than the table.
        warnings.simplefilter("ignore", BetaWarning)
        days = dg.TimeWindowPartitionMapping(
            start_offset=-spec.history.get(key.path[-1], 0),
            allow_nonexistent_upstream_partitions=True,
        )
    return dg.AssetDep(key, partition_mapping=days)


def event(result: LayerResult, day: date | None) -> dg.AssetMaterialization:
    """Say to Dagster how a day of gold stands, or a table that is made as a whole."""
    return dg.AssetMaterialization(
        asset_key=dg.AssetKey([result.layer, result.name]),
        partition=day.isoformat() if day else None,
        metadata=metadata.of_layer(result, whole=day is None),
        tags={"dagster/data_version": result.data_version},
    )


def gold_sensor(
    specs: Sequence[GoldSpec], settings: Settings
) -> dg.AutomationConditionSensorDefinition:
    """Return the sensor that evaluates the conditions of gold, and of nothing else."""
    keys = [dg.AssetKey([spec.contract.layer, spec.contract.name]) for spec in specs]
    return dg.AutomationConditionSensorDefinition(
        name="gold",
        target=dg.AssetSelection.assets(*keys),
        minimum_interval_seconds=max(60, settings.sensor_seconds),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Builds gold tables again where one of their sources changed.",
    )
