"""Commands that watch over the lake: `gaps`, `backfill`, `health`, `source`.

What they need is imported when they are called: they import no Dagster but to launch runs.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

from intel_assets.cli import build, present, rollout, show
from intel_assets.clock import parse_day
from intel_assets.errors import UsageError
from intel_assets.settings import Settings, load_settings
from intel_assets.sources import registry
from intel_assets.world import demo_world, world_clock

AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]


def gaps(
    sources: Annotated[list[str] | None, typer.Argument(help="Sources; all if left out.")] = None,
    explain: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--explain", metavar="SOURCE DAY", help="Tell the whole story of one day instead."
        ),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Also days that are not due yet, or whose source is off."),
    ] = False,
    json: AsJson = False,
) -> None:
    """Show the days that are not there, why, and what is done about it.

    A line is a range of days that stand alike; times are UTC. `since` is since when, `deadline`
    until when the first of them can still be had, `tries` how often it was tried in vain. It is
    worked out now, from the tables. The exit code is 0, gaps or none: `intel health` is for
    monitors.
    """
    settings = load_settings()
    if explain is not None:
        _explain(settings, *explain, json=json)
        return
    specs = registry.load(sources or [])

    from intel_assets.cli import ranges

    found = present.look(settings, specs)
    rows = []
    for gap in ranges.gap_ranges(found.states, everything=everything):
        then = ranges.what_next(asdict(gap), found.now, found.probe_at.get(gap.source))
        rows.append(asdict(gap) | {"next": then})
    if json:
        show.document(rows)
    elif rows:
        columns = ["source", "days", "n", "state", "since", "deadline", "tries", "next", "reason"]
        show.rows(columns, [_line(row, found.now) for row in rows])
        _who_fills(settings)
    else:
        from intel_assets.alerts.words import count

        held = count(found.states.height, "day")
        typer.echo(f"No gap in {held} of {count(len(specs), 'source')}.")


def backfill(
    source: Annotated[str, typer.Argument(help="The source.")],
    first: build.From = None,
    last: build.To = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and its cost; ask for nothing.")
    ] = False,
    whole: Annotated[
        bool, typer.Option("--all", help="Ask for days that stand already as well.")
    ] = False,
) -> None:
    """Fill the gaps of a source: show the plan and what it costs, then run it.

    Without --from and --to: the last 30 days. Only days that are not whole are asked for. Days
    that stand in landing are built again without a request; days that are lost are named and not
    asked for. A state feed can only be asked today.
    """
    settings = load_settings()
    registry.known(source)
    with demo_world(settings):
        days = build.days_of(first, last, world_clock(settings))

        from intel_assets.cli.fill import fill

        spec = registry.load([source])[0]
        code = fill(settings, spec, days, whole=whole, dry_run=dry_run)
    if code:
        sys.exit(code)


def health(json: AsJson = False) -> None:
    """Say whether all is well: exit code 0, or 1 with what is wrong. For a monitor.

    Wrong are: a day that is lost within a day from now, one that was lost in the last 7 days, days
    that nobody tries any more, a daemon that has stopped, alerts that could not be delivered, a
    disk with less than 10 % free.
    """
    settings = load_settings()

    from intel_assets.cli import monitor

    found = monitor.examine(settings, registry.load())
    if json:
        show.document(found.as_json())
    else:
        monitor.show_text(found)
    if found.problems:
        sys.exit(1)


def _explain(settings: Settings, source: str, day: str, *, json: bool) -> None:
    from intel_assets.cli import story

    spec = registry.load([source])[0]
    wanted, today = parse_day(day), world_clock(settings)().date()
    if wanted > today:
        raise UsageError(f"{wanted} lies in the future.", f"Today is {today} (UTC).")
    found = present.look(settings, [spec])
    told = story.tell(settings.layout, spec, wanted, found, settings.history_from)
    if json:
        show.document(story.as_json(told))
    else:
        story.show_text(told)


def _line(gap: Mapping[str, Any], now: datetime) -> list[object]:
    first, last = gap["first"], gap["last"]
    return [
        gap["source"],
        f"{first}" if first == last else f"{first}..{last}",
        gap["days"],
        gap["state"],
        "now" if gap["since"] == now else _minute(gap["since"]),
        _minute(gap["deadline"]),
        gap["attempts"],
        gap["next"],
        gap["reason"],
    ]


def _minute(moment: datetime | None) -> str | None:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else None


def _who_fills(settings: Settings) -> None:
    """Say to whoever waits for gaps to be filled whether anything does."""
    if present.daemon(settings).state in ("dead", "never started"):
        typer.echo(
            "Dagster's daemon does not run, so nothing is filled by itself: `intel ui` starts it, "
            "`intel backfill SOURCE` fills now.",
            err=True,
        )


COMMANDS = {"gaps": gaps, "backfill": backfill, "health": health}
APPS = {"source": rollout.source}
