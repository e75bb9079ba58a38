"""Which sources are on: `intel source list|enable|disable`, and what is said of one that is off."""

from __future__ import annotations

import getpass
import os
import socket
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from intel_assets.cli import present, show
from intel_assets.errors import ConfigurationError, IntelError
from intel_assets.lakehouse.format import check_format, check_writable
from intel_assets.settings import Settings, load_settings
from intel_assets.sources import registry
from intel_assets.world import world_clock

if TYPE_CHECKING:
    from intel_assets.sources.spec import SourceSpec
    from intel_assets.sources.switches import Off

source = typer.Typer(
    name="source",
    help="Say which sources are on, and switch one on or off.",
    no_args_is_help=True,
)

AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]
Name = Annotated[str, typer.Argument(help="The source.")]
Why = Annotated[
    str | None, typer.Option("--why", metavar="TEXT", help="The reason, for whoever asks later.")
]


@source.command("list")
def list_(json: AsJson = False) -> None:
    """List the sources: what each is, whether it is on and why not, when it answered last.

    `kind` is event (past days can be asked for) or state (only today can). `next` is when its
    schedule asks it next, if Dagster's daemon runs. Times are UTC.
    """
    settings = load_settings()
    specs = registry.load()
    found = present.look(settings, specs)
    off = _off(settings, specs)
    answered = dict(found.health.select("source", "last_success").iter_rows())
    columns = ["source", "title", "kind", "cadence", "on", "why", "last_success", "next"]
    rows = [
        (
            spec.name,
            spec.title,
            spec.kind,
            spec.cadence,
            spec.name not in off,
            off[spec.name].reason if spec.name in off else None,
            show.second(answered.get(spec.name)),
            None if spec.name in off else next_tick(spec, found.now),
        )
        for spec in specs
    ]
    if json:
        show.records(columns, rows)
        return
    show.rows(columns, [(*row[:4], "yes" if row[4] else "no", *row[5:]) for row in rows])


@source.command()
def enable(name: Name, why: Why = None) -> None:
    """Switch a source on, for everybody who uses this lake.

    Settings win: a source that INTEL_DISABLED names, or INTEL_SOURCES leaves out, stays off.
    """
    _switch(name, on=True, why=why)


@source.command()
def disable(name: Name, why: Why = None) -> None:
    """Switch a source off, for everybody who uses this lake.

    Nothing asks for it any more, and its days count as no gaps. What is stored stays.
    """
    _switch(name, on=False, why=why)


def refusal(settings: Settings, spec: SourceSpec, off: Off) -> IntelError:
    """Return the error for a source that is named and off, with what to do about it."""
    if off.state == "not_configured":
        from intel_assets.sources.extract import missing_secret

        unset = next(name for name in spec.secrets if not settings.secret(name))
        return missing_secret(spec, unset)
    setting = by_settings(settings, spec.name)
    do = f"`intel source enable {spec.name}` switches it on."
    if setting == "INTEL_DISABLED":
        do = f"Take {spec.name} out of INTEL_DISABLED, in the environment or .env."
    elif setting == "INTEL_SOURCES":
        do = f"Add {spec.name} to INTEL_SOURCES, in the environment or .env."
    return ConfigurationError(f"{spec.name} is off: {off.reason}.", do)


def why(off: Off) -> str:
    """Return in a few words why a source is off."""
    return off.reason if off.state == "disabled" else f"not configured: {off.reason}"


def by_settings(settings: Settings, name: str) -> str | None:
    """Return the setting that switches a source off, if one does."""
    if name in _names(settings.disabled):
        return "INTEL_DISABLED"
    only = _names(settings.sources)
    return "INTEL_SOURCES" if only and name not in only else None


def next_tick(spec: SourceSpec, now: datetime) -> datetime:
    """Return when a source's schedule asks it next."""
    from cronsim import CronSim

    return next(CronSim(spec.cadence, now))


def _switch(name: str, *, on: bool, why: str | None) -> None:
    from intel_assets.sources.switches import switch

    settings = load_settings()
    registry.known(name)
    check_format(settings.layout, create=True)
    check_writable(settings.layout)
    switch(settings.layout, name, on=on, why=why, who=whoami(), at=world_clock(settings)())
    typer.echo(f"{name} is switched {'on' if on else 'off'}.")
    if not on:
        return
    specs = registry.load([name])
    for off in _off(settings, specs).values():
        error = refusal(settings, specs[0], off)
        typer.echo(f"It stays off: {off.reason}. {error.do}", err=True)


def whoami() -> str:
    """Return whom a table names who was told something by this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # A container's user need not have a name.
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _off(settings: Settings, specs: list[SourceSpec]) -> dict[str, Off]:
    from intel_assets.engine import sources_off

    return sources_off(settings, specs)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
