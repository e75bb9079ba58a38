"""The two contenders of the backfill benchmark, each in its own process.

`python -m benchmarks.backfill_work floor|assets DAYS` fills the days through Dagster, in this
process and in runs of 30 days. Its time runs from the first run to the end of the last.
"""

import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date

import dagster as dg

from benchmarks.backfill_world import FIRST, days_from
from intel_assets.definitions import build_definitions
from intel_assets.ingest.messages import HttpPolicy
from intel_assets.orchestration.assets import Event, events
from intel_assets.orchestration.checks import check_specs
from intel_assets.orchestration.instance import open_instance
from intel_assets.orchestration.jobs import source_job
from intel_assets.orchestration.runs import chunks, launch
from intel_assets.settings import Settings, load_settings
from intel_assets.sources.results import CheckResult, DayResult, LayerResult
from intel_assets.sources.spec import SourceSpec
from intel_assets.threat import tweetfeed

# So fast that politeness is not what is measured.
SPEC = replace(tweetfeed.SPEC, policy=HttpPolicy(rate_per_second=10_000.0, burst=1_000))


def floor(spec: SourceSpec, settings: Settings) -> dg.Definitions:
    """Return the definitions with a body that does nothing but say how the days stand."""
    real = build_definitions(sources=[spec], settings=settings)
    (assets,) = [one for one in real.assets or () if isinstance(one, dg.AssetsDefinition)]

    @dg.multi_asset(
        name=assets.op.name,
        specs=[one.replace_attributes(partitions_def=None) for one in assets.specs],
        check_specs=list(assets.check_specs),
        partitions_def=assets.partitions_def,
        backfill_policy=assets.backfill_policy,
        can_subset=True,
        pool=assets.op.pool,
        op_tags=dict(assets.op.tags),
    )
    def nothing(context: dg.AssetExecutionContext) -> Iterator[Event]:
        for key in context.partition_keys:
            yield from events(spec, _result(spec, date.fromisoformat(key)), settings.layout)

    return dg.Definitions(
        assets=[nothing], jobs=[source_job(spec)], executor=dg.in_process_executor
    )


def _result(spec: SourceSpec, day: date) -> DayResult:
    """Return what a day comes to, made up."""
    contracts = [spec.raw, spec.cleaned, *(one.contract for one in spec.aggregates)]
    return DayResult(
        day,
        "complete",
        None,
        requested=True,
        layers=tuple(
            LayerResult(one.layer, one.name, 40, f"{day:%Y%m%d}" * 4, 1, written=True)
            for one in contracts
        ),
        checks=tuple(
            CheckResult(one.asset_key.path[0], one.name, True, one.blocking, "All is well.")
            for one in check_specs(spec)
        ),
    )


def fill(contender: str, count: int) -> dict[str, object]:
    """Fill the days and say how long that took, and what Dagster was told."""
    settings = load_settings()
    if contender == "floor":
        definitions = floor(SPEC, settings)
    else:
        definitions = build_definitions(sources=[SPEC], settings=settings)
    ranges = chunks(days_from(FIRST, count))
    ids = []
    with open_instance(settings) as instance:
        definitions.resolve_job_def(SPEC.name)
        began = time.perf_counter()
        for first, last in ranges:
            outcome = launch(definitions, instance, SPEC.name, first, last)
            if outcome.message:
                raise RuntimeError(outcome.message)
            ids.append(outcome.run_id)
        seconds = time.perf_counter() - began
        told: Counter[str] = Counter()
        for run_id in ids:
            for entry in instance.all_logs(run_id):
                if entry.dagster_event is not None:
                    told[entry.dagster_event.event_type_value] += 1
    kinds = ("ASSET_MATERIALIZATION", "ASSET_CHECK_EVALUATION")
    if any(told[kind] < count for kind in kinds):
        raise RuntimeError(f"{count} days, but Dagster was told {dict(told)}")
    return {"seconds": seconds, "runs": len(ids), "events": sum(told[kind] for kind in kinds)}


if __name__ == "__main__":
    logging.disable(logging.INFO)
    print(json.dumps(fill(sys.argv[1], int(sys.argv[2]))))
