"""Schedules: each source is asked in its own cadence. Dagster concept: schedules.

A tick asks for today and for the past days of which records may still come. It never stands in
line behind one of its own. Dagster does not make up for ticks that were missed; the gap sensor
does. https://docs.dagster.io/guides/automate/schedules
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

import dagster as dg

from intel_assets.coverage import findings
from intel_assets.coverage.assess import of_a_tick, quota_used
from intel_assets.coverage.evidence import fetches
from intel_assets.engine import sources_off
from intel_assets.orchestration.inflight import in_flight, tags
from intel_assets.settings import load_settings
from intel_assets.sources.spec import SourceSpec
from intel_assets.world import world_clock


def source_schedule(
    spec: SourceSpec, job: dg.UnresolvedAssetJobDefinition
) -> dg.ScheduleDefinition:
    """Return the schedule of a source."""

    @dg.schedule(
        name=f"{spec.name}_schedule",
        job=job,
        cron_schedule=spec.cadence,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Asks {spec.title} for today and the {spec.late_days} days before it.",
        tags={"source": spec.name},
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return due(spec, context.instance)

    return tick


def due(spec: SourceSpec, instance: dg.DagsterInstance) -> dg.RunRequest | dg.SkipReason:
    """Return the run that a tick asks for, or why there is none."""
    settings = load_settings()
    why = sources_off(settings, [spec]).get(spec.name)
    if why is not None:
        return dg.SkipReason(f"{spec.name} is {why.state.replace('_', ' ')}: {why.reason}.")
    mine = [run for run in in_flight(instance) if run.source == spec.name]
    before = next((run for run in mine if run.trigger == "schedule"), None)
    if before is not None:
        return dg.SkipReason(f"The run {before.run_id[:8]} of an earlier tick has not ended yet.")
    now = world_clock(settings)()
    asked = fetches(settings.layout, [spec.name])
    health = findings.health(asked, [spec]).row(0, named=True)
    if health["probe_at"] is not None and health["probe_at"] > now:
        return dg.SkipReason(
            f"{spec.name} has not answered {health['failures']} times in a row; it is asked again "
            f"at {health['probe_at']:%H:%M:%S} UTC."
        )
    for _, _, used, allowed in quota_used(asked, [spec], now).iter_rows():
        if used + of_a_tick(spec) > allowed:
            return dg.SkipReason(f"The quota of {spec.name} is used up: {used} of {allowed}.")
    today = now.date()
    first = max(spec.start, today - timedelta(days=spec.late_days if spec.kind == "event" else 0))
    return dg.RunRequest(tags=tags(spec, first, today, trigger="schedule"))


def source_schedules(
    specs: Sequence[SourceSpec], jobs: Sequence[dg.UnresolvedAssetJobDefinition]
) -> Iterator[dg.ScheduleDefinition]:
    """Yield the schedule of each source, but of those that are asked on demand."""
    for spec, job in zip(specs, jobs, strict=True):
        if spec.kind != "lookup":
            yield source_schedule(spec, job)
