"""Upkeep every night: tables, landing, Dagster's history. Dagster concept: ops and op jobs.

Each part is done whatever becomes of the others, and can be cut off anywhere: the next night goes
on. Two at once are one too many: the second goes home (lakehouse/lock.py). Runs of sources may be
under way all the time.
https://docs.dagster.io/guides/build/ops
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import dagster as dg
from deltalake.exceptions import DeltaError
from obstore.exceptions import BaseError

from intel_assets.clock import system_clock
from intel_assets.engine import open_engine
from intel_assets.errors import IntelError
from intel_assets.lakehouse.lock import alone
from intel_assets.lakehouse.maintenance import maintain
from intel_assets.logs import about
from intel_assets.settings import Settings, load_settings
from intel_assets.sources import registry
from intel_assets.sources.retention import Purged, purge
from intel_assets.world import world_clock

logger = logging.getLogger(__name__)

_HISTORY_SECONDS = 600.0
_BUSY = "Another upkeep, or a backup, is under way."


@dataclass
class Kept:
    """What a part of upkeep came to.

    Attributes:
        part: tables, landing or history.
        numbers: What was done.
        left: What could not be done, by table or source, and why.
        busy: Whether nothing was done since another upkeep, or a backup, is under way.
    """

    part: str
    numbers: dict[str, int] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    busy: bool = False


def keep_tables(settings: Settings, run_id: str = "") -> Kept:
    """Compact, vacuum and shorten the log of every table."""
    kept = Kept("tables")
    for table in maintain(settings.layout, run_id=run_id):
        for name in ("before", "after", "merged", "removed", "freed"):
            kept.numbers[name] = kept.numbers.get(name, 0) + getattr(table, name)
        if table.skipped:
            kept.left[f"{table.layer}.{table.name}"] = table.skipped
    return kept


def keep_landing(settings: Settings, run_id: str = "") -> Kept:
    """Take bodies that said nothing new out of landing, as long as each source keeps them."""
    kept = Kept("landing")
    with open_engine(settings, world_clock(settings)) as engine:
        for spec in registry.load():
            try:
                with about(source=spec.name):
                    done = purge(engine.lake, spec, run_id)
            except (IntelError, DeltaError, OSError, BaseError) as error:
                logger.warning("%s: landing: %s", spec.name, error)
                done = Purged(spec.name, skipped=str(error).strip().partition("\n")[0])
            for name in ("marked", "aside", "gone", "kept", "freed"):
                kept.numbers[name] = kept.numbers.get(name, 0) + getattr(done, name)
            if done.skipped:
                kept.left[spec.name] = done.skipped
    return kept


def keep_history(instance: dg.DagsterInstance, days: int) -> Kept:
    """Forget Dagster's runs and logs that are older than so many days."""
    # Here, so that what only loads the definitions does not load the databases' drivers.
    from intel_assets.orchestration.history import forget, shrink

    kept = Kept("history")
    before, began = system_clock() - timedelta(days=days), time.monotonic()
    while True:
        done = forget(instance, before)
        for name in ("runs", "logs", "events", "freed"):
            kept.numbers[name] = kept.numbers.get(name, 0) + getattr(done, name)
        kept.numbers["more"] = int(done.more)
        if not done.more or time.monotonic() - began > _HISTORY_SECONDS:
            break
    kept.numbers["freed"] += shrink(instance)
    return kept


def keep(settings: Settings, instance: dg.DagsterInstance, run_id: str = "") -> list[Kept]:
    """Do all of it, in this process and without a run; `busy` if another is at it."""
    parts: dict[str, Callable[[], Kept]] = {
        "tables": lambda: keep_tables(settings, run_id),
        "landing": lambda: keep_landing(settings, run_id),
        "history": lambda: keep_history(instance, settings.run_history_days),
    }
    return [in_turn(settings, name, part) for name, part in parts.items()]


def in_turn(settings: Settings, name: str, part: Callable[[], Kept]) -> Kept:
    """Do a part unless another upkeep, or a backup, is under way."""
    with alone(settings.state.absolute(), settings.tenant) as free:
        return part() if free else Kept(name, busy=True)


@dg.op(out=dg.Out(dg.Nothing), description=keep_tables.__doc__)
def tables(context: dg.OpExecutionContext) -> None:
    """Keep the tables."""
    settings = load_settings()
    with about(run_id=context.run_id):
        _tell(context, in_turn(settings, "tables", lambda: keep_tables(settings, context.run_id)))


@dg.op(out=dg.Out(dg.Nothing), description=keep_landing.__doc__)
def landing(context: dg.OpExecutionContext) -> None:
    """Keep the landing."""
    settings = load_settings()
    with about(run_id=context.run_id):
        _tell(context, in_turn(settings, "landing", lambda: keep_landing(settings, context.run_id)))


@dg.op(out=dg.Out(dg.Nothing), description=keep_history.__doc__)
def history(context: dg.OpExecutionContext) -> None:
    """Keep Dagster's history."""
    settings = load_settings()
    with about(run_id=context.run_id):
        days = settings.run_history_days
        part = in_turn(settings, "history", lambda: keep_history(context.instance, days))
    _tell(context, part)


@dg.job(
    name="upkeep",
    executor_def=dg.in_process_executor,
    description="Merges small files, removes what no promise needs any more, forgets old runs.",
)
def upkeep_job() -> None:
    """Keep the lake: parts that do not wait for each other."""
    tables()
    landing()
    history()


upkeep_schedule = dg.ScheduleDefinition(
    name="upkeep_schedule",
    job=upkeep_job,
    cron_schedule="30 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night at 03:30 UTC.",
)


def _tell(context: dg.OpExecutionContext, kept: Kept) -> None:
    """Say what was done; what could not be done is a failure, since somebody has to look."""
    if kept.busy:
        context.log.info(_BUSY)
    metadata: dict[str, Any] = {**kept.numbers, "busy": kept.busy}
    if kept.left:
        named = "; ".join(f"{name}: {why}" for name, why in sorted(kept.left.items())[:3])
        more = f" and {len(kept.left) - 3} more" if len(kept.left) > 3 else ""
        raise dg.Failure(
            description=f"{kept.part}: left for the next time: {named}{more}.",
            metadata=metadata | {"left": kept.left},
            allow_retries=False,
        )
    context.add_output_metadata(metadata)
