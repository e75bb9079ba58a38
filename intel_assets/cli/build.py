"""Commands that fill the lake: `run`, `land`, `replay`, `upgrade`.

They import Dagster, which takes seconds, so they do it when they are called (launching.py).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from intel_assets.cli import ask, rollout, status
from intel_assets.cli.launching import (
    Work,
    finish,
    launching,
    record_coverage,
    say,
    write_views,
)
from intel_assets.cli.side_by_side import launch_all
from intel_assets.clock import Clock, parse_day
from intel_assets.errors import UpstreamError, UsageError
from intel_assets.lakehouse.format import check_format
from intel_assets.settings import Settings, load_settings
from intel_assets.sources import registry
from intel_assets.world import demo_world, world_clock

if TYPE_CHECKING:
    from intel_assets.sources.spec import SourceSpec
    from intel_assets.sources.switches import Off

DEFAULT_DAYS = 30

From = Annotated[str | None, typer.Option("--from", metavar="DAY", help="First day (UTC).")]
To = Annotated[str | None, typer.Option("--to", metavar="DAY", help="Last day (UTC).")]


def run(
    sources: Annotated[
        list[str] | None, typer.Argument(help="Sources; all that are on if left out.")
    ] = None,
    first: From = None,
    last: To = None,
) -> None:
    """Fetch days of sources and take them through all layers, through Dagster.

    Without --from and --to: the last 30 days. Days that stand already are asked for again, and
    change only if the source says something new. A state feed is asked for today alone.
    """
    settings = load_settings()
    clock = world_clock(settings)
    for name in sources or []:
        registry.known(name)
    with demo_world(settings):
        days = days_of(first, last, clock)
        chosen = _chosen(settings, sources or [])
        worst, asks = 0, {}
        for spec in chosen:
            wanted = _askable(spec, days, clock().date(), named=bool(first or last))
            if wanted:
                asks[spec.name] = wanted
            elif spec.kind == "state":
                say(f"{spec.name}: a state feed, it can only be asked today.")
                # Whoever names it wants something of it.
                worst = max(worst, UpstreamError.exit_code if sources else 0)
            else:
                say(f"{spec.name}: it begins on {spec.start}.")
        # Beside the tables over several sources, which say nothing of a source's days.
        fetched = partial(record_coverage, settings)
        worst = max(worst, launch_all(settings, asks, fetched))
        write_views(settings, worst)
        _show(worst)


def land(
    source: Annotated[str, typer.Argument(help="The source whose bodies these are.")],
    files: Annotated[list[Path], typer.Argument(help="Files, as the source would have sent them.")],
    fetched_at: Annotated[
        str | None,
        typer.Option("--fetched-at", metavar="T", help="When they were received; now if left out."),
    ] = None,
    day: Annotated[
        str | None, typer.Option("--day", help="The day they answer, if they do not say it.")
    ] = None,
) -> None:
    """Take in bodies that came some other way, such as over an air gap.

    They go the same road as bodies that were fetched; --fetched-at is since when they count as
    known.
    """
    settings = load_settings()
    registry.known(source)
    clock = world_clock(settings)
    received = ask.past(fetched_at, clock) if fetched_at else clock()
    for file in files:
        if not file.is_file():
            raise UsageError(f"There is no file {file}.", "Name files that are there.")

    from intel_assets.ingest.documents import Window

    window = Window(parse_day(day), parse_day(day)) if day else None
    _off_the_record(settings, source, lambda p: p.land(dict.fromkeys(files, window), received))


def replay(
    source: Annotated[str, typer.Argument(help="The source.")],
    first: From = None,
    last: To = None,
) -> None:
    """Parse and clean days again from what was received, without a network.

    For a mended parser, or a table that was damaged. What was known when stays as it was.
    """
    settings = load_settings()
    registry.known(source)
    days = days_of(first, last, world_clock(settings))
    _off_the_record(settings, source, lambda p: p.replay(days))


def upgrade() -> None:
    """Bring the lake to the format that this version writes."""
    from intel_assets.lakehouse.format import FORMAT
    from intel_assets.lakehouse.format import upgrade as bring

    passed = bring(load_settings().layout)
    text = " → ".join(map(str, passed))
    typer.echo(f"Format {text}." if len(passed) > 1 else f"Nothing to do: format {FORMAT}.")


def _off_the_record(settings: Settings, source: str, work: Work) -> None:
    spec = registry.load([source])[0]
    with launching(settings) as launcher:
        if not launcher.off_the_record(spec, work):
            say(f"Nothing of {source} was received for these days.")
    finish(settings, launcher.worst)
    _show(launcher.worst)


def _show(worst: int) -> None:
    status.status()
    if worst:
        sys.exit(worst)


def _chosen(settings: Settings, sources: list[str]) -> list[SourceSpec]:
    """Return the sources that are named, or those that are on.

    Raises:
        ConfigurationError: If one is named and off.
    """
    from intel_assets.engine import sources_off

    specs = registry.load(sources)
    check_format(settings.layout)
    off: Mapping[str, Off] = sources_off(settings, specs)
    for spec in specs:
        if spec.name in off and sources:
            raise rollout.refusal(settings, spec, off[spec.name])
        if spec.name in off:
            say(f"{spec.name}: left out, {rollout.why(off[spec.name])}.")
    for spec in specs:
        if spec.kind == "lookup" and sources:
            raise UsageError(
                f"{spec.name} is asked of given indicators, and not of days.",
                f"`intel enrich VALUE --with {spec.name}` asks it.",
            )
    return [spec for spec in specs if spec.name not in off and spec.kind != "lookup"]


def days_of(first: str | None, last: str | None, clock: Clock) -> list[date]:
    """Return the days that --from and --to mean; the last 30 where they are left out.

    Raises:
        UsageError: If one is no day, or lies in the future, or they are the wrong way round.
    """
    end = parse_day(last) if last else None
    start = parse_day(first) if first else None
    today = clock().date()
    end = end or today
    start = start or end - timedelta(days=DEFAULT_DAYS - 1)
    if start > end:
        raise UsageError(f"The range {start} to {end} ends before it begins.", "Swap its ends.")
    if end > today:
        raise UsageError(f"{end} lies in the future.", f"Today is {today} (UTC).")
    return [start + timedelta(days=i) for i in range((end - start).days + 1)]


def _askable(spec: SourceSpec, days: Iterable[date], today: date, *, named: bool) -> list[date]:
    """Return the days of a range that a source can be asked for at all.

    Args:
        spec: The source.
        days: The range.
        today: The present day.
        named: Whether somebody named the range: then an event feed is asked for all of it, and
            says itself how far back it reaches.
    """
    first = today if spec.kind == "state" else spec.start
    if spec.kind == "event" and spec.look_back_days is not None and not named:
        # The day that it reaches back into is not whole any more.
        first = max(first, today - timedelta(days=max(0, spec.look_back_days - 1)))
    return [day for day in days if day >= first]


COMMANDS = {"run": run, "land": land, "replay": replay, "upgrade": upgrade}
