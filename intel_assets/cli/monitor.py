"""`intel health`: whether all is well, for a monitor that looks every few minutes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import typer

from intel_assets.alerts.tables import ALERTS, DELIVERIES, given_up, standing
from intel_assets.alerts.words import count, moment, span
from intel_assets.cli import present, show
from intel_assets.cli.ranges import GAPS, WHOLE
from intel_assets.coverage.assess import Assessment
from intel_assets.coverage.evidence import first_days
from intel_assets.coverage.expected import expected
from intel_assets.engine import sources_off
from intel_assets.lakehouse.tables import Table
from intel_assets.settings import Settings
from intel_assets.sources.spec import SourceSpec

SOON = timedelta(days=1)
"""A day that is lost before that is urgent."""
NEWS = timedelta(days=7)
"""How long a day that was lost, or an alert that nobody was told of, is wrong."""
LEAST_FREE = 0.1

_GIB = 1 << 30


@dataclass(frozen=True)
class Disk:
    """A file system that is written to."""

    place: str
    free_bytes: int
    total_bytes: int

    @property
    def low(self) -> bool:
        """Whether too little is free."""
        return self.free_bytes < LEAST_FREE * self.total_bytes


@dataclass(frozen=True)
class Health:
    """How everything is.

    Attributes:
        problems: What is wrong, a sentence each; none if all is well.
        sources: For each source whether it is on, when it answered last, and its gaps by state.
        gaps: Gaps of all sources by state.
        alerts: Alerts that are not over, and messages of the last 7 days that were given up.
        daemon: Whether Dagster's daemon lives.
        disks: The file systems that are written to.
    """

    at: datetime
    problems: list[str]
    sources: list[dict[str, Any]]
    gaps: dict[str, int]
    alerts: dict[str, int]
    daemon: present.Daemon
    disks: list[Disk]

    def as_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {"healthy": not self.problems, **asdict(self)}


def examine(settings: Settings, specs: Sequence[SourceSpec]) -> Health:
    """Look at everything.

    Raises:
        StorageError: If the lake cannot be read.
    """
    found = present.look(settings, specs)
    daemon, disks = present.daemon(settings), _disks(settings)
    alerts = _alerts(settings, found.now)
    problems = [
        *_days(found, specs, settings),
        *_machinery(daemon, disks),
        *_untold(alerts["given_up"]),
    ]
    return Health(
        at=found.now,
        problems=problems,
        sources=_sources(found, specs, settings),
        gaps=_by_state(found.states),
        alerts=alerts,
        daemon=daemon,
        disks=disks,
    )


def show_text(found: Health) -> None:
    """Print it for people."""
    for problem in found.problems:
        typer.echo(f"wrong: {problem}")
    if not found.problems:
        typer.echo("All is well.")
    columns = ["source", "on", "last_success", "held", "expected", "gaps"]
    rows = [
        (
            row["source"],
            "yes" if row["on"] else "no",
            show.second(row["last_success"]),
            row["held"],
            row["expected"],
            show.counts(row["gaps"]),
        )
        for row in found.sources
    ]
    typer.echo("")
    show.rows(columns, rows)
    seen = f", last seen {moment(found.daemon.seen)}" if found.daemon.seen else ""
    typer.echo(f"\ndaemon: {found.daemon.state}{seen}")
    given = count(found.alerts["given_up"], "message")
    typer.echo(f"alerts: {found.alerts['open']} open, {given} given up in 7 days")
    for disk in found.disks:
        free, total = disk.free_bytes / _GIB, disk.total_bytes / _GIB
        typer.echo(f"disk: {free:,.1f} of {total:,.1f} GiB free at {disk.place}")


# -- what is wrong ------------------------------------------------------------------------------


def _days(found: Assessment, specs: Sequence[SourceSpec], settings: Settings) -> Iterator[str]:
    """Say which days are wrong, by source."""
    now, states = found.now, found.states
    that = expected(specs, now, first_days(found.evidence), settings.history_from)
    lost_at = that.select("source", "day", lost_at="deadline")
    soon = pl.col("deadline") <= now + SOON
    # A filling day is looked after; of a lost one, since when counts and not when it was noticed.
    urgent = states.filter(pl.col("state").is_in(["missing", "rejected", "failed"]), soon)
    lost = states.filter(pl.col("state") == "lost").join(lost_at, on=["source", "day"])
    stuck = (pl.col("state") == "failed") | (
        (pl.col("state") == "rejected") & (pl.col("remedy") == "person")
    )
    for frame, said in (
        (urgent, "can be had for less than a day"),
        (lost.filter(pl.col("lost_at") > now - NEWS), "lost in the last 7 days"),
        (states.filter(stuck), "not tried any more, a person has to look"),
    ):
        for (source,), rows in frame.sort("source", "day").group_by(
            ["source"], maintain_order=True
        ):
            yield f"{source}: {count(rows.height, 'day')} {said}: {span(rows['day'])}"


def _machinery(daemon: present.Daemon, disks: Sequence[Disk]) -> Iterator[str]:
    if daemon.state == "dead" and daemon.seen:
        yield f"Dagster's daemon does not run; its last sign of life was {moment(daemon.seen)}"
    for disk in disks:
        if disk.low:
            share = disk.free_bytes / max(1, disk.total_bytes)
            yield f"the disk of {disk.place} is nearly full: {share:.0%} is free"


def _untold(messages: int) -> Iterator[str]:
    if messages:
        yield f"{count(messages, 'alert message')} could not be delivered in the last 7 days"


# -- what is looked at --------------------------------------------------------------------------


def _sources(
    found: Assessment, specs: Sequence[SourceSpec], settings: Settings
) -> list[dict[str, Any]]:
    off = sources_off(settings, specs)
    answered = dict(found.health.select("source", "last_success").iter_rows())
    rows = []
    for spec in specs:
        ours = found.states.filter(pl.col("source") == spec.name)
        rows.append(
            {
                "source": spec.name,
                "on": spec.name not in off,
                "why": off[spec.name].reason if spec.name in off else None,
                "last_success": answered.get(spec.name),
                "held": ours.filter(pl.col("state").is_in(WHOLE)).height,
                "expected": ours.filter(pl.col("state").is_in([*WHOLE, *GAPS])).height,
                "gaps": _by_state(ours),
            }
        )
    return rows


def _by_state(states: pl.DataFrame) -> dict[str, int]:
    found = dict(states.group_by("state").len().iter_rows())
    return {state: found[state] for state in GAPS if state in found}


def _alerts(settings: Settings, now: datetime) -> dict[str, int]:
    layout = settings.layout
    told = Table(layout, DELIVERIES).open() is not None
    return {
        "open": standing(layout).height if Table(layout, ALERTS).open() is not None else 0,
        "given_up": given_up(layout, now - NEWS).height if told else 0,
    }


def _disks(settings: Settings) -> list[Disk]:
    """Return the file systems of the lake and of the state folder, each once."""
    places = [settings.state.absolute()]
    if settings.layout.is_local:
        places.insert(0, Path(settings.layout.base))
    found: dict[int, Disk] = {}
    for place in places:
        stands = next(folder for folder in (place, *place.parents) if folder.exists())
        usage = shutil.disk_usage(stands)
        found.setdefault(stands.stat().st_dev, Disk(str(place), usage.free, usage.total))
    return list(found.values())
