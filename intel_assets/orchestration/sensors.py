"""Sensors: what looks at the lake again and again, and acts. Dagster concept: sensors.

`gaps` frees what dead runs held, says how every day stands, plans what to fill and launches it.
The plan is this project's, the running is Dagster's: its own conditions ask for none of the holes
that are already there. https://docs.dagster.io/guides/automate/sensors
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

import dagster as dg
import polars as pl

from intel_assets.coverage.assess import Assessment, assess, quota_left, record, record_attempts
from intel_assets.coverage.plan import Ask, Limits, Plan, plan
from intel_assets.engine import sources_off
from intel_assets.lakehouse.format import check_format
from intel_assets.orchestration import standing
from intel_assets.orchestration.inflight import InFlight, in_flight, ranges, tags
from intel_assets.orchestration.liveness import end_orphans
from intel_assets.settings import Settings, load_settings
from intel_assets.sources.spec import SourceSpec
from intel_assets.world import world_clock

GAP_RUNS = 4
"""How many runs that fill gaps may wait or run at once, of different sources. Dagster runs one of
them at a time (dagster.yaml), so that there is always room for what is new."""


def gap_sensor(
    specs: Sequence[SourceSpec],
    jobs: Sequence[dg.UnresolvedAssetJobDefinition],
    settings: Settings,
) -> dg.SensorDefinition:
    """Return the sensor that fills gaps."""

    @dg.sensor(
        name="gaps",
        jobs=list(jobs),
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Fills gaps: what expires first goes first, inside quotas, in ranges.",
    )
    def gaps(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        return look(context.instance, specs, load_settings(), context.cursor)

    return gaps


def look(
    instance: dg.DagsterInstance,
    specs: Sequence[SourceSpec],
    settings: Settings,
    cursor: str | None,
) -> dg.SensorResult:
    """Look once: end dead runs, record how every day stands, and plan.

    Attempts are written before their runs are launched: whatever kills the daemon in between, an
    attempt is never made twice.

    Args:
        instance: Dagster's.
        specs: The sources.
        settings: Where the lake is.
        cursor: How the standing checks came out the last time.
    """
    check_format(settings.layout, create=True)
    ended = end_orphans(instance, settings)
    runs = in_flight(instance)
    now = world_clock(settings)()
    found = assess(
        settings.layout,
        specs,
        now,
        off=sources_off(settings, specs),
        running=ranges(runs),
        since=settings.history_from,
    )
    changed = record(settings.layout, found)
    made = plan(found.states, specs, _limits(found, specs, runs), now)
    asks = {_run_key(ask, now): ask for ask in made.asks}
    record_attempts(settings.layout, asks, now)
    by_name = {spec.name: spec for spec in specs}
    checks = {(e.asset_key.path[1], e.check_name): e for e in standing.evaluations(found, specs)}
    told = {f"{name}/{check}": one.description for (name, check), one in checks.items()}
    before: Mapping[str, str] = json.loads(cursor) if cursor else {}
    return dg.SensorResult(
        run_requests=[_request(by_name[ask.source], key, ask) for key, ask in asks.items()],
        skip_reason=None if asks else _idle(found, made, ended, changed),
        cursor=json.dumps(told),
        asset_events=[
            one
            for (name, check), one in checks.items()
            if before.get(f"{name}/{check}") != one.description
        ],
    )


def _limits(found: Assessment, specs: Sequence[SourceSpec], runs: Sequence[InFlight]) -> Limits:
    filling = {run.run_id for run in runs if run.trigger == "gap"}
    return Limits(
        runs=max(0, GAP_RUNS - len(filling)),
        budgets=quota_left(found.evidence.fetches, specs, found.now),
        busy={run.source for run in runs},
        probe_at=found.probe_at,
    )


def _request(spec: SourceSpec, key: str, ask: Ask) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=key,
        job_name=spec.name,
        tags=tags(spec, ask.first, ask.last, trigger="gap", kind=ask.kind)
        | {"intel/attempt": str(ask.attempt)},
    )


def _run_key(ask: Ask, now: datetime) -> str:
    return f"{ask.source}:{ask.kind}:{ask.first}:{ask.last}:{ask.attempt}:{now:%Y%m%dT%H%M%S}"


def _idle(found: Assessment, made: Plan, ended: Sequence[str], changed: int) -> str:
    """Say why nothing is launched."""
    days, sources = found.states.height, found.states["source"].n_unique()
    said = [
        f"{held.source}: {held.days} days wait, {held.why}{_until(held.until)}"
        for held in made.held
    ]
    if not said:
        people = found.states.filter(pl.col("remedy") == "person").height
        said = [f"no gap to fill in {days} days of {sources} sources"]
        said += [f"{people} days wait for a person"] if people else []
    said += [f"{len(ended)} runs had lost their process"] if ended else []
    said += [f"{changed} days stand another way than before"] if changed else []
    return "; ".join(said) + "."


def _until(moment: datetime | None) -> str:
    return f", until {moment:%Y-%m-%d %H:%M} UTC" if moment else ""
