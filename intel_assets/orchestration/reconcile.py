"""Reconciling: Dagster's materializations against what the tables really hold, both ways.

The gap sensor sees at once when a partition's folder is gone. What takes longer is looked at here,
every hour: files that are missing inside a folder, rows that somebody wrote by hand, derived days
that do not follow from their raw, and partitions that Dagster knows in another version, or not at
all. What can be built again from landing is. Dagster concept: jobs, runless events.
https://docs.dagster.io/guides/build/jobs
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl

from intel_assets.coverage.evidence import standing_partitions
from intel_assets.engine import Engine
from intel_assets.lakehouse.contracts import Contract
from intel_assets.lakehouse.foreign import foreign_commits
from intel_assets.lakehouse.tables import Table
from intel_assets.logs import about
from intel_assets.orchestration.liveness import alive
from intel_assets.orchestration.resources import LakehouseResource
from intel_assets.orchestration.runs import report
from intel_assets.sources.derive import cleaned_version
from intel_assets.sources.spec import SourceSpec

logger = logging.getLogger(__name__)

_VERSION = "dagster/data_version"


@dataclass
class Differences:
    """What of a source does not agree.

    Attributes:
        files: Files that a log names and that are not there.
        by_hand: Days that somebody changed who is no run.
        behind: Days whose derived tables do not follow from their raw.
        untold: Partitions that Dagster does not know as they stand: by asset, the days.
        gone: Partitions that Dagster shows, and that the lake says nothing of.
    """

    files: int = 0
    by_hand: set[date] = field(default_factory=set)
    behind: set[date] = field(default_factory=set)
    untold: dict[str, set[date]] = field(default_factory=dict)
    gone: int = 0

    @property
    def numbers(self) -> dict[str, int]:
        """The differences, counted."""
        return {
            "missing_files": self.files,
            "days_written_by_hand": len(self.by_hand),
            "days_behind": len(self.behind),
            "partitions_untold": sum(len(days) for days in self.untold.values()),
            "partitions_gone": self.gone,
        }


def reconcile_job(specs: Sequence[SourceSpec]) -> dg.JobDefinition:
    """Return the job that reconciles all sources."""

    @dg.op(name="reconcile_sources", description="Compares Dagster and the lake, and mends both.")
    def reconcile_sources(context: dg.OpExecutionContext, lakehouse: LakehouseResource) -> None:
        with lakehouse.open() as engine, alive(engine.settings, context.run_id):
            totals: dict[str, int] = {}
            for spec in specs:
                with about(run_id=context.run_id, source=spec.name):
                    found = reconcile(engine, context.instance, spec, context.run_id)
                for name, number in found.numbers.items():
                    totals[name] = totals.get(name, 0) + number
            context.add_output_metadata(totals)

    @dg.job(
        name="reconcile",
        description="Compares what Dagster shows with what the tables hold, both ways, and mends.",
        executor_def=dg.in_process_executor,
    )
    def reconcile_all() -> None:
        reconcile_sources()

    return reconcile_all


def reconcile_schedule(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Return its schedule: every hour, between the sources' own minutes."""
    return dg.ScheduleDefinition(
        name="reconcile_schedule",
        job=job,
        cron_schedule="23 * * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )


def reconcile(
    engine: Engine, instance: dg.DagsterInstance, spec: SourceSpec, run_id: str
) -> Differences:
    """Compare a source in Dagster and in the lake, and mend what differs.

    Returns:
        What differed before.
    """
    layout = engine.lake.layout
    found = Differences()
    contracts = [spec.raw, spec.cleaned, *(aggregate.contract for aggregate in spec.aggregates)]
    stands = standing_partitions(layout, spec.name)
    seen = _Seen(engine.settings.state.absolute() / "reconciled.json")
    for contract in contracts:
        found.files += Table(layout, contract).drop_missing()
        commits, version = foreign_commits(layout, contract, seen.version(contract))
        for commit in commits:
            logger.warning(
                "%s.%s: version %d (%s) is no run's; it changed %s",
                contract.layer,
                contract.name,
                commit.version,
                commit.operation,
                ", ".join(map(str, commit.days)),
            )
            found.by_hand |= set(commit.days)
        if version < seen.version(contract):  # Somebody put an older table in its place.
            logger.warning("%s.%s went back to version %d", contract.layer, contract.name, version)
            found.by_hand |= set(stands["day"])
        seen.note(contract, version)
    found.behind = _behind(stands, spec)
    days = sorted(found.by_hand | found.behind)
    for result in engine.pipeline(spec, run_id).replay(days) if days else ():
        report(instance, spec, result, layout, run_id)
    seen.keep()  # Only now: a process that dies before looks at them again.
    _compare(instance, spec, contracts, standing_partitions(layout, spec.name), found)
    return found


def _behind(stands: pl.DataFrame, spec: SourceSpec) -> set[date]:
    """Return the days whose cleaned partition was derived from another raw."""
    raw = stands.filter(pl.col("layer") == "raw", ~pl.col("refused"))
    cleaned = stands.filter(pl.col("layer") == "cleaned").select(
        "day", cleaned="digest", code="code_version"
    )
    both = raw.select("day", raw="digest").join(cleaned, on="day")
    return {
        row["day"]
        for row in both.iter_rows(named=True)
        if cleaned_version(row["raw"], spec.name, row["code"]) != row["cleaned"]
    }


def _compare(
    instance: dg.DagsterInstance,
    spec: SourceSpec,
    contracts: Sequence[Contract],
    stands: pl.DataFrame,
    found: Differences,
) -> None:
    """Tell Dagster of partitions that it knows in another version, or not at all."""
    for contract in contracts:
        key = dg.AssetKey([contract.layer, contract.name])
        told = instance.event_log_storage.get_latest_tags_by_partition(
            key, dg.DagsterEventType.ASSET_MATERIALIZATION, [_VERSION]
        )
        ours = stands.filter(
            pl.col("layer") == contract.layer,
            pl.col("name") == contract.name,
            pl.col("day") >= spec.start,
        )
        days = set()
        for row in ours.iter_rows(named=True):
            if told.get(row["day"].isoformat(), {}).get(_VERSION) != row["digest"]:
                days.add(row["day"])
                instance.report_runless_asset_event(_materialization(key, row))
        if days:
            found.untold[key.to_user_string()] = days
        held = {day.isoformat() for day in ours["day"]}
        found.gone += len(set(instance.get_materialized_partitions(key)) - held)


def _materialization(key: dg.AssetKey, row: Mapping[str, object]) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        asset_key=key,
        partition=str(row["day"]),
        description="Found in the lake by the reconciler.",
        metadata={"dagster/partition_row_count": int(str(row["rows"] or 0))},
        tags={_VERSION: str(row["digest"])},
    )


class _Seen:
    """Up to which version each table was looked at; a file that is lost means all of them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._versions: dict[str, int] = {}
        if path.is_file():
            self._versions = json.loads(path.read_text("utf-8"))
        self._new = dict(self._versions)

    def version(self, contract: Contract) -> int:
        return self._versions.get(f"{contract.layer}.{contract.name}", -1)

    def note(self, contract: Contract, version: int) -> None:
        self._new[f"{contract.layer}.{contract.name}"] = version

    def keep(self) -> None:
        aside = self._path.with_suffix(".new")
        aside.write_text(json.dumps(self._new), "utf-8")
        aside.replace(self._path)
