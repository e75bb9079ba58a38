"""Alerting: gathers what the alert rules look at, and has them told. Dagster concept: sensors.

The rules, when something is told again, and the channels are `intel_assets.alerts`.
https://docs.dagster.io/guides/automate/sensors
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl

from intel_assets.alerts.facts import FRAMES, Facts
from intel_assets.clock import system_clock
from intel_assets.coverage import findings
from intel_assets.coverage.assess import quota_used
from intel_assets.coverage.evidence import fetches
from intel_assets.coverage.tables import COVERAGE
from intel_assets.engine import sources_off
from intel_assets.lakehouse.format import check_format
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.ops import CHECKS, FETCHES
from intel_assets.lakehouse.tables import Table
from intel_assets.orchestration.liveness import SOURCE_TAG
from intel_assets.settings import Settings, load_settings
from intel_assets.sources.spec import SourceSpec
from intel_assets.sources.switches import switched_on
from intel_assets.threat.gold.sightings import SIGHTINGS
from intel_assets.threat.own_lists import OWN_LISTS
from intel_assets.world import world_clock

LOOKED_BACK = timedelta(hours=24)
_RUNS = 50


def alert_sensor(specs: Sequence[SourceSpec], settings: Settings) -> dg.SensorDefinition:
    """Return the sensor that tells what is wrong."""

    @dg.sensor(
        name="alerts",
        minimum_interval_seconds=max(60, settings.sensor_seconds),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells what is wrong, once, again while it lasts, and when it is over.",
    )
    def tell(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        return dg.SkipReason(f"{look(context.instance, specs, load_settings())}.")

    return tell


def look(instance: dg.DagsterInstance, specs: Sequence[SourceSpec], settings: Settings) -> str:
    """Look once: gather the facts, judge them, write and tell what is to be told; say what was."""
    # Here, so that what only loads the definitions does not load mail and web clients.
    from intel_assets.alerts import engine

    check_format(settings.layout, create=True)
    clock = world_clock(settings)
    found = gather(instance, specs, settings, clock())
    return str(engine.run(settings.layout, found, settings.channels, clock))


def gather(
    instance: dg.DagsterInstance, specs: Sequence[SourceSpec], settings: Settings, now: datetime
) -> Facts:
    """Gather what the rules look at."""
    layout, since = settings.layout, now - LOOKED_BACK
    asked = fetches(layout, [spec.name for spec in specs])
    return Facts(
        now=now,
        states=_states(layout),
        fetches=_since(layout, "fetches", pl.col("received_at") >= since),
        sources=_sources(instance, specs, settings, asked, now),
        checks=_since(layout, "checks", pl.col("recorded_at") >= since)
        .sort("recorded_at")
        .unique(["source", "day", "name"], keep="last"),
        quota=quota_used(asked, specs, now),
        failed_runs=_failed_runs(instance, now),
        disk=_disk(settings),
        watched=_watched(settings, now),
    )


def _states(layout: Layout) -> pl.DataFrame:
    rows = Table(layout, COVERAGE).read_where(pl.lit(True)).sort("recorded_at")
    newest = rows.unique(["source", "day"], keep="last")
    return newest.filter(pl.col("state") != "complete")


def _since(layout: Layout, name: str, condition: pl.Expr) -> pl.DataFrame:
    contract = {"fetches": FETCHES, "checks": CHECKS}[name]
    return Table(layout, contract).read_columns(FRAMES[name].names(), condition)


def _sources(
    instance: dg.DagsterInstance,
    specs: Sequence[SourceSpec],
    settings: Settings,
    asked: pl.DataFrame,
    now: datetime,
) -> pl.DataFrame:
    off = sources_off(settings, specs)
    health = findings.health(asked, specs).select("source", "last_success")
    first = asked.group_by("source").agg(since=pl.col("received_at").min())
    begun = pl.concat([first, switched_on(settings.layout)])
    begun = begun.group_by("source").agg(pl.col("since").max())
    rows = [
        {
            "source": spec.name,
            "kind": spec.kind,
            "every": spec.longest_wait,
            "longest_pause": spec.calendar.longest_pause,
            "enabled": spec.name not in off,
            "last_good_run": _last_good_run(instance, spec, now),
        }
        for spec in specs
    ]
    wanted = FRAMES["sources"]
    schema = {name: wanted[name] for name in wanted if name not in ("since", "last_success")}
    return (
        pl.DataFrame(rows, schema=schema)
        .join(health, on="source", how="left")
        .join(begun, on="source", how="left")
    )


def _last_good_run(
    instance: dg.DagsterInstance, spec: SourceSpec, now: datetime
) -> datetime | None:
    wanted = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS], tags={SOURCE_TAG: spec.name})
    for record in instance.get_run_records(wanted, limit=1):
        return _moment(record.end_time, now)
    return None


def _failed_runs(instance: dg.DagsterInstance, now: datetime) -> pl.DataFrame:
    wanted = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.FAILURE], updated_after=system_clock() - LOOKED_BACK
    )
    rows = [
        (
            record.dagster_run.run_id,
            record.dagster_run.tags.get(SOURCE_TAG, ""),
            _why(instance, record.dagster_run.run_id),
            _moment(record.end_time, now),
        )
        for record in instance.get_run_records(wanted, limit=_RUNS)
    ]
    return pl.DataFrame(rows, schema=FRAMES["failed_runs"], orient="row").drop_nulls("at")


def _moment(stamp: float | None, now: datetime) -> datetime | None:
    """Return when a run ended in the time of the lake, which may be a played one."""
    return now - timedelta(seconds=system_clock().timestamp() - stamp) if stamp else None


def _why(instance: dg.DagsterInstance, run_id: str) -> str:
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    for record in instance.get_records_for_run(run_id, of_type=kinds, limit=1).records:
        event = record.event_log_entry.dagster_event
        if event is not None and event.is_step_failure:
            told = event.step_failure_data.user_failure_data
            error = event.step_failure_data.error
            if told and told.description:
                return told.description
            if error is not None:
                return (error.cause or error).message.strip()
        if event is not None:
            return event.message or "The run failed."
    return "The run failed."


def _watched(settings: Settings, now: datetime) -> pl.DataFrame:
    """Return what feeds tell of that is watched for; asked anew when a table or the day changed."""
    tables = [Table(settings.layout, contract).open() for contract in (OWN_LISTS, SIGHTINGS)]
    if None in tables:
        return pl.DataFrame(schema=FRAMES["watched"])
    versions = [table.version() for table in tables if table is not None]
    # A day later, an entry may have expired.
    asked = (settings.layout.base, *versions, now.date())
    if asked not in _HITS:
        found = _watchlist_hits(settings.layout, now)
        _HITS.clear()
        _HITS[asked] = found
    return _HITS[asked]


_HITS: dict[tuple[object, ...], pl.DataFrame] = {}
"""The last answer, and what it hangs on: the sensor asks every minute."""


def _watchlist_hits(layout: Layout, now: datetime) -> pl.DataFrame:
    # Here, so that what only loads the definitions does not load DuckDB.
    from intel_assets.lakehouse.catalog import Catalog
    from intel_assets.lakehouse.views import TableName

    since, catalog = now.date() - timedelta(days=1), Catalog(layout, clock=lambda: now)
    with catalog.connect(wanted=[TableName("aggregated", "watchlist_hits")]) as connection:
        found = connection.execute("FROM aggregated.watchlist_hits WHERE last_day >= ?", [since])
        return found.pl().select(FRAMES["watched"].names())


def _disk(settings: Settings) -> pl.DataFrame:
    places = {"state": settings.state.absolute()}
    if settings.layout.is_local:
        places["lake"] = Path(settings.layout.base)
    return pl.DataFrame(list(_usage(places)), schema=FRAMES["disk"], orient="row")


def _usage(places: Mapping[str, Path]) -> Iterator[tuple[str, int, int]]:
    """Yield the file systems that some folders are on, each once."""
    seen = set()
    for name, folder in places.items():
        there = next((f for f in (folder, *folder.parents) if f.exists()), Path("/"))
        device = there.stat().st_dev
        if device not in seen:
            seen.add(device)
            usage = shutil.disk_usage(there)
            yield name, usage.free, usage.total
