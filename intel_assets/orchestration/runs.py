"""Runs: days of sources through Dagster in this process, and news of what went another way.

Dagster concept: runs and runless events.
https://docs.dagster.io/guides/operate/managing-runs
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import dagster as dg

from intel_assets import errors
from intel_assets.coverage.plan import DAYS_IN_A_RUN
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.tables import day_ranges
from intel_assets.orchestration.assets import events
from intel_assets.orchestration.inflight import FIRST_TAG, LAST_TAG
from intel_assets.sources.results import DayResult
from intel_assets.sources.spec import SourceSpec

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended.

    Attributes:
        message: What failed; None if nothing did.
        exit_code: What a command that launched it exits with.
    """

    source: str
    first: date | None
    last: date | None
    run_id: str
    message: str | None
    exit_code: int


def chunks(days: Sequence[date]) -> list[tuple[date, date]]:
    """Divide days into ranges that one run takes."""
    found: list[tuple[date, date]] = []
    for first, last in day_ranges(days):
        start = first
        while start <= last:
            end = min(last, date.fromordinal(start.toordinal() + DAYS_IN_A_RUN - 1))
            found.append((start, end))
            start = date.fromordinal(end.toordinal() + 1)
    return found


def launch(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    name: str,
    first: date | None = None,
    last: date | None = None,
) -> RunOutcome:
    """Take a range of days through the assets of a job, in this process.

    Args:
        definitions: Where the job is.
        instance: Dagster's.
        name: The job: a source's, `gold`, or `gold_whole`.
        first: The first day; None for assets without partitions.
        last: The last day.

    Raises:
        KeyboardInterrupt: If somebody interrupted it; the run is recorded as failed.
    """
    job = definitions.resolve_job_def(name)
    days = {FIRST_TAG: first.isoformat(), LAST_TAG: last.isoformat()} if first and last else {}
    result = job.execute_in_process(
        instance=instance, run_config=_QUIET, raise_on_error=False, tags=days
    )
    # Dagster makes a failure like any other of it, and whoever launches would go on.
    if any(_interrupted(event) for event in result.all_events):
        raise KeyboardInterrupt
    message, exit_code = _failure(result)
    return RunOutcome(name, first, last, result.run_id, message, exit_code)


def report(
    instance: dg.DagsterInstance, spec: SourceSpec, result: DayResult, layout: Layout, run_id: str
) -> None:
    """Tell Dagster how a day stands that did not go through a run (landed or replayed)."""
    for event in events(spec, result, layout):
        if isinstance(event, dg.AssetMaterialization):
            instance.report_runless_asset_event(event)
            continue
        # Of a check and partition, Dagster takes one evaluation a run, and only one without a
        # run: so every landing and replay reports under its own id.
        evaluation = dg.DagsterEvent(
            event_type_value=dg.DagsterEventType.ASSET_CHECK_EVALUATION.value,
            job_name=spec.name,
            event_specific_data=event,
        )
        instance.report_dagster_event(evaluation, run_id=run_id)


def _interrupted(event: dg.DagsterEvent) -> bool:
    error = event.step_failure_data.error if event.is_step_failure else None
    return error is not None and error.cls_name == dg.DagsterExecutionInterruptedError.__name__


def _failure(result: dg.ExecuteInProcessResult) -> tuple[str | None, int]:
    if result.success:
        return None, 0
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            told = data.user_failure_data
            if told and told.description:
                code = told.metadata.get("exit_code")
                return told.description, int(code.value) if code else 1  # type: ignore[arg-type]
            error = data.error
            # Our own error says what to do; what caused it speaks of the libraries below.
            while error is not None and error.cause and not _exit_code(error.cls_name):
                error = error.cause
            if error is not None:
                ours, message = _exit_code(error.cls_name), error.message.strip()
                # Dagster puts the name of the class before the words.
                return message.partition(": ")[2] if ours else message, ours or 1
    return "The run failed before its step began.", 1


def _exit_code(class_name: str | None) -> int | None:
    """Return the exit code of an error of ours; None for any other."""
    kind = getattr(errors, class_name or "", None)
    if isinstance(kind, type) and issubclass(kind, errors.IntelError):
        return kind.exit_code
    return None
