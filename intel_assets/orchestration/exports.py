"""Exports: what is published for other systems, as assets. Dagster concept: assets on a schedule.

Their content hangs on time too (decay), so they are made every hour, and not when a feed changed.
A file that is not believed stays as it was: its check fails, and so does the run.
https://docs.dagster.io/guides/build/assets
"""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg

from intel_assets.lakehouse.catalog import Catalog
from intel_assets.lakehouse.views import TableName
from intel_assets.logs import about
from intel_assets.orchestration.liveness import alive
from intel_assets.settings import Settings, load_settings
from intel_assets.threat.export.published import PUBLICATIONS, Published, publish
from intel_assets.threat.export.selection import TABLES, Wanted
from intel_assets.threat.gold.feeds import OWNER
from intel_assets.world import world_clock

JOB = "exports"
CHECK = "believable"
_HOUR = timedelta(hours=1)


def export_assets() -> dg.AssetsDefinition:
    """Return the files that are published, as assets."""

    @dg.multi_asset(
        name="exports_assets",
        specs=[
            dg.AssetSpec(
                key=["export", one.name],
                deps=[["aggregated", "indicator_parts"]],
                description=f"{one.description}\n\nFile: `{one.file}` in INTEL_EXPORTS.",
                group_name="threat",
                owners=[OWNER],
                kinds={"file"},
                tags={"layer": "export"},
                freshness_policy=dg.FreshnessPolicy.time_window(
                    fail_window=6 * _HOUR, warn_window=3 * _HOUR
                ),
                skippable=True,
            )
            for one in PUBLICATIONS
        ],
        check_specs=[
            dg.AssetCheckSpec(
                CHECK,
                asset=["export", one.name],
                description="It holds at least half of what it held; else the old file stays.",
            )
            for one in PUBLICATIONS
        ],
        # Makes the outcome of a check optional, where there is nothing to publish yet.
        can_subset=True,
        pool=JOB,
    )
    def materialize(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
        settings, refused = load_settings(), []
        with about(run_id=context.run_id), alive(settings, context.run_id):
            for done in _published(settings):
                yield from _events(done)
                refused += [f"{done.name}: {done.refused}"] if done.refused else []
        if refused:
            raise dg.Failure(description=f"{'; '.join(refused)}.", allow_retries=False)

    return materialize


export_job = dg.define_asset_job(
    JOB,
    selection=dg.AssetSelection.assets(*(["export", one.name] for one in PUBLICATIONS)),
    description="Writes block lists, tables, the STIX bundle and the MISP feed into INTEL_EXPORTS.",
)
export_schedule = dg.ScheduleDefinition(
    name="exports_schedule",
    job=export_job,
    cron_schedule="40 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every hour, at 40 minutes past (UTC).",
)


def _published(settings: Settings) -> Iterator[Published]:
    catalog = Catalog(settings.layout, clock=world_clock(settings))
    if TableName("aggregated", "sightings") not in catalog.tables():
        return  # No feed has told of anything yet.
    with catalog.connect(wanted=TABLES) as connection:
        wanted = Wanted(
            min_confidence=settings.export_min_confidence, tlp=settings.export_tlp.lower()
        )
        yield from publish(connection, settings.export_folder, wanted)


def _events(done: Published) -> Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    key = dg.AssetKey(["export", done.name])
    if not done.refused:
        yield dg.AssetMaterialization(
            key,
            metadata={
                "path": dg.MetadataValue.path(done.path),
                "indicators": done.indicators,
                "as_of": done.as_of,
            },
            tags={"dagster/data_version": done.version},
        )
    yield dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=CHECK,
        passed=not done.refused,
        description=done.refused or None,
        metadata={"indicators": done.indicators},
    )
