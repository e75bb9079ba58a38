"""What Dagster loads: all sources of the registry as one set of definitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import dagster as dg

from intel_assets.orchestration.alerting import alert_sensor
from intel_assets.orchestration.assets import source_assets
from intel_assets.orchestration.exports import export_assets, export_job, export_schedule
from intel_assets.orchestration.gold import gold_asset, gold_sensor
from intel_assets.orchestration.jobs import gold_jobs, source_job
from intel_assets.orchestration.reconcile import reconcile_job, reconcile_schedule
from intel_assets.orchestration.resources import CatalogResource, LakehouseResource
from intel_assets.orchestration.schedules import source_schedules
from intel_assets.orchestration.sensors import gap_sensor
from intel_assets.orchestration.standing import standing_checks
from intel_assets.orchestration.upkeep import upkeep_job, upkeep_schedule
from intel_assets.settings import Settings, load_settings
from intel_assets.sources import registry
from intel_assets.sources.gold import in_order
from intel_assets.sources.spec import SourceSpec
from intel_assets.threat.gold import gold


def build_definitions(
    *,
    sources: Sequence[SourceSpec] | None = None,
    settings: Settings | None = None,
    resources: Mapping[str, object] | None = None,
) -> dg.Definitions:
    """Put the definitions together; tests hand in their own sources and resources.

    Args:
        sources: The sources; those of the registry if left out.
        settings: Where the assets' metadata says that the tables are. Runs read the environment,
            since they may be processes of their own.
        resources: Replace the resources of these names.
    """
    specs = list(sources) if sources is not None else registry.load()
    configured = settings or load_settings()
    by_name = {spec.name: spec for spec in specs}
    tables = in_order([one for one in gold() if set(one.sources) <= set(by_name)])
    # One job takes days through all of them, so they have the same.
    read = {name for one in tables for name in one.sources}
    starts = min((by_name[name].start for name in read), default=date.max)
    jobs = [source_job(spec) for spec in specs]
    reconcile = reconcile_job(specs)
    return dg.Definitions(
        assets=[
            *(source_assets(spec, configured) for spec in specs),
            *(gold_asset(one, starts, configured) for one in tables),
            *([export_assets()] if tables else []),
        ],
        asset_checks=[standing_checks(specs)],
        jobs=[
            *jobs,
            *gold_jobs(tables),
            *([export_job] if tables else []),
            reconcile,
            upkeep_job,
        ],
        schedules=[
            *source_schedules(specs, jobs),
            reconcile_schedule(reconcile),
            upkeep_schedule,
            *([export_schedule] if tables else []),
        ],
        sensors=[
            gap_sensor(specs, jobs, configured),
            alert_sensor(specs, configured),
            *([gold_sensor(tables, configured)] if tables else []),
        ],
        resources={
            "lakehouse": LakehouseResource(),
            "duckdb": CatalogResource(),
            **(resources or {}),
        },
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """Say what Dagster loads, when it does; whoever imports this module need not."""
    return build_definitions()
