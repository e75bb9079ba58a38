"""Assets: the one factory that turns a source into its assets. Dagster concept: assets.

A source is one multi-asset that takes each day through its layers and says at once how the day
stands, so in a range every day has its own truth: bad days fail, the others land.
https://docs.dagster.io/guides/build/assets
"""

from collections.abc import Iterator
from datetime import date

import dagster as dg

from intel_assets.coverage.plan import DAYS_IN_A_RUN
from intel_assets.engine import Engine
from intel_assets.lakehouse.contracts import Contract
from intel_assets.lakehouse.layout import Layout
from intel_assets.logs import about
from intel_assets.orchestration import checks, freshness, metadata, partitions
from intel_assets.orchestration.inflight import KIND_TAG
from intel_assets.orchestration.liveness import alive
from intel_assets.orchestration.resources import LakehouseResource
from intel_assets.settings import Settings
from intel_assets.sources.results import GOOD, DayResult
from intel_assets.sources.spec import SourceSpec

Event = dg.AssetMaterialization | dg.AssetCheckEvaluation


def source_assets(spec: SourceSpec, settings: Settings) -> dg.AssetsDefinition:
    """Turn a source into its raw, cleaned and aggregated assets."""
    specs = _asset_specs(spec, settings.layout)

    @dg.multi_asset(
        name=f"{spec.name}_assets",
        specs=specs,
        check_specs=checks.check_specs(spec),
        partitions_def=partitions.daily(spec),
        backfill_policy=dg.BackfillPolicy.multi_run(DAYS_IN_A_RUN),
        can_subset=True,
        pool=spec.name,
        op_tags={"domain": spec.domain},
    )
    def materialize(
        context: dg.AssetExecutionContext, lakehouse: LakehouseResource
    ) -> Iterator[Event]:
        days = [date.fromisoformat(key) for key in context.partition_keys]
        bad: list[DayResult] = []
        with (
            about(run_id=context.run_id, source=spec.name),
            lakehouse.open() as engine,
            alive(engine.settings, context.run_id),
        ):
            for result in _results(engine, spec, context, days):
                yield from events(spec, result, engine.lake.layout)
                if result.requested and result.state not in GOOD | {"missing"}:
                    bad.append(result)
        if bad:
            raise _failure(spec, bad, len(days))

    return materialize


def _results(
    engine: Engine, spec: SourceSpec, context: dg.AssetExecutionContext, days: list[date]
) -> Iterator[DayResult]:
    pipeline = engine.pipeline(spec, context.run_id)
    if context.run.tags.get(KIND_TAG) == "replay":
        yield from pipeline.replay(days)
        return
    with engine.upstream(spec) as upstream:
        yield from pipeline.materialize(days, upstream)


def events(spec: SourceSpec, result: DayResult, layout: Layout) -> Iterator[Event]:
    """Say to Dagster how a day stands: one materialization a layer, then its checks.

    Days outside the source's partitions (records without a day) are known to the lake alone.
    """
    if result.day < spec.start:
        return
    for layer in result.layers:
        yield dg.AssetMaterialization(
            asset_key=dg.AssetKey([layer.layer, layer.name]),
            partition=result.day.isoformat(),
            metadata=metadata.of_partition(layer, result, layout),
            tags={"dagster/data_version": layer.data_version},
        )
    yield from checks.evaluations(spec, result)


def _asset_specs(spec: SourceSpec, layout: Layout) -> list[dg.AssetSpec]:
    raw, cleaned = dg.AssetKey(["raw", spec.name]), dg.AssetKey(["cleaned", spec.name])
    upstream: list[tuple[Contract, list[dg.AssetKey]]] = [(spec.raw, []), (spec.cleaned, [raw])]
    upstream += [(aggregate.contract, [cleaned]) for aggregate in spec.aggregates]
    made = []
    for contract, deps in upstream:
        facts = dict(metadata.of_table(contract, layout))
        if deps:
            facts["dagster/column_lineage"] = metadata.column_lineage(contract, deps[0])
        made.append(
            dg.AssetSpec(
                key=[contract.layer, contract.name],
                deps=deps,
                description=_description(spec, contract),
                group_name=spec.domain,
                owners=[spec.owner],
                kinds={"deltalake", "duckdb" if contract.layer == "aggregated" else "polars"},
                tags={"layer": contract.layer, "source": spec.name, "feed": spec.kind},
                code_version=spec.code_version,
                metadata=facts,
                freshness_policy=freshness.of_source(spec),
                skippable=True,
            )
        )
    return made


def _description(spec: SourceSpec, contract: Contract) -> str:
    return (
        f"{contract.description}\n\n{spec.description}\n\n"
        f"[{spec.title}]({spec.homepage}) · licence: {spec.licence} · "
        f"SQL name: `{contract.layer}.{contract.name}`"
    )


def _failure(spec: SourceSpec, bad: list[DayResult], asked: int) -> dg.Failure:
    named = "; ".join(f"{result.day}: {result.message}" for result in bad[:3])
    more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
    return dg.Failure(
        description=f"{spec.name}: {len(bad)} of {asked} days failed: {named}{more}.",
        metadata={
            "failed_days": [result.day.isoformat() for result in bad],
            "exit_code": max(result.exit_code for result in bad),
        },
        allow_retries=False,
    )
