"""Runs in flight: which days of which sources runs are at. Dagster concept: runs and their tags.

https://docs.dagster.io/guides/operate/managing-runs
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from intel_assets.coverage.states import RUNNING
from intel_assets.orchestration.liveness import SOURCE_TAG
from intel_assets.sources.spec import SourceSpec

TRIGGER_TAG = "intel/trigger"
"""What launched a run: `schedule` or `gap`."""
KIND_TAG = "intel/kind"
"""`replay` for a run that builds days again from landing; a run fetches if it has none."""
FIRST_TAG = "dagster/asset_partition_range_start"
LAST_TAG = "dagster/asset_partition_range_end"

_PARTITION_TAG = "dagster/partition"
_UNFINISHED = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


@dataclass(frozen=True)
class InFlight:
    """A run of a source that has not ended.

    Attributes:
        trigger: What launched it; None for a person.
    """

    run_id: str
    source: str
    first: date | None
    last: date | None
    trigger: str | None


def in_flight(instance: DagsterInstance) -> list[InFlight]:
    """Return the runs of sources that have not ended."""
    runs = instance.get_runs(RunsFilter(statuses=_UNFINISHED))
    return [one for run in runs for one in _of(run)]


def ranges(runs: list[InFlight]) -> pl.DataFrame:
    """Return the ranges that runs are at, in the columns of `coverage.states.RUNNING`."""
    rows = [(run.source, run.first, run.last) for run in runs if run.first and run.last]
    return pl.DataFrame(rows, schema=RUNNING, orient="row")


def tags(
    spec: SourceSpec, first: date, last: date, *, trigger: str, kind: str = "fetch"
) -> dict[str, str]:
    """Return the tags of a run that takes a range of days of a source."""
    limit = timedelta(minutes=2) + spec.time_limit
    return {
        FIRST_TAG: first.isoformat(),
        LAST_TAG: last.isoformat(),
        TRIGGER_TAG: trigger,
        KIND_TAG: kind,
        "dagster/max_runtime": str(int(limit.total_seconds())),
        # What is new comes before what is old.
        "dagster/priority": "0" if trigger == "gap" else "10",
    }


def _of(run: DagsterRun) -> Iterator[InFlight]:
    first = run.tags.get(FIRST_TAG, run.tags.get(_PARTITION_TAG))
    last = run.tags.get(LAST_TAG, run.tags.get(_PARTITION_TAG))
    named = {key.path[1] for key in run.asset_selection or () if key.path[0] == "raw"}
    sources = {run.tags[SOURCE_TAG]} if SOURCE_TAG in run.tags else named
    for source in sorted(sources):
        yield InFlight(run.run_id, source, _day(first), _day(last), run.tags.get(TRIGGER_TAG))


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        return None  # a partition of two dimensions, of an asset that is no source's
