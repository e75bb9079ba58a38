"""The command `enrich`: asks sources of given indicators, and nobody else's."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer

from intel_assets.cli import show
from intel_assets.cli.launching import say, views_following, waiting
from intel_assets.cli.lookup import given, said
from intel_assets.cli.rollout import refusal, why
from intel_assets.errors import UsageError
from intel_assets.lakehouse.catalog import Catalog
from intel_assets.lakehouse.format import check_format
from intel_assets.lakehouse.views import TableName
from intel_assets.settings import Settings, load_settings
from intel_assets.sources import registry
from intel_assets.world import demo_world, world_clock

if TYPE_CHECKING:
    from intel_assets.engine import Engine
    from intel_assets.errors import IntelError
    from intel_assets.sources.spec import SourceSpec
    from intel_assets.threat.lookup import Asked

_WORDS = {
    "asked": "asked",
    "fresh": "answered before",
    "unknown": "unknown there",
    "not_applicable": "not its kind",
}


def enrich(
    values: Annotated[
        list[str] | None,
        typer.Argument(help="Indicators, as they are pasted; `-` reads standard input."),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="A file of indicators.")] = None,
    sources: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="SOURCE", help="Whom to ask; all that are on if left out."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Ask VirusTotal, GreyNoise and AbuseIPDB of addresses, names, URLs and hashes.

    Every answer is kept, `intel lookup` shows it, and it is not asked for again while it is fresh.
    Quotas are obeyed: what they do not allow today is said and left out.
    """
    from intel_assets.threat.lookup import recognise, told_of

    asked = [recognise(text) for text in given(values, file)]
    known = [one for one in asked if one.indicator]
    for one in asked:
        if not one.indicator:
            say(f"{one.text}: this is no indicator")
    if not known:
        raise UsageError("There is no indicator in it.", "Give addresses, names, URLs or hashes.")
    settings = load_settings()
    specs = _chosen(settings, sources or [])
    check_format(settings.layout, create=True)
    with demo_world(settings), views_following(settings):
        outcomes, failed = _ask(settings, specs, known)
    catalog = Catalog(settings.layout, clock=world_clock(settings))
    there = {name.name for name in catalog.tables() if name.layer == "cleaned"}
    held = [spec.name for spec in specs if spec.name in there]
    with catalog.connect(wanted=[TableName("cleaned", name) for name in held]) as connection:
        answers = told_of(connection, known, held)
    _show(outcomes, answers, json=json)
    if failed:
        sys.exit(max(error.exit_code for error in failed))


def _chosen(settings: Settings, names: list[str]) -> list[SourceSpec]:
    """Return the lookups that are named, or those that are on.

    Raises:
        IntelError: If one is named that cannot be asked of indicators, or is off.
    """
    from intel_assets.engine import sources_off

    specs = registry.load(names)
    lookups = [spec for spec in specs if spec.kind == "lookup"]
    for spec in specs:
        if names and spec not in lookups:
            can = ", ".join(one.name for one in registry.load() if one.kind == "lookup")
            raise UsageError(f"{spec.name} is not asked of indicators.", f"These are: {can}.")
    off = sources_off(settings, lookups)
    for spec in lookups:
        if spec.name in off and names:
            raise refusal(settings, spec, off[spec.name])
        if spec.name in off:
            say(f"{spec.name}: left out, {why(off[spec.name])}.")
    chosen = [spec for spec in lookups if spec.name not in off]
    if not chosen:
        raise UsageError("No source is on that could be asked.", "`intel source list` says why.")
    return chosen


def _ask(
    settings: Settings, specs: list[SourceSpec], asked: list[Asked]
) -> tuple[dict[str, dict[str, str]], list[IntelError]]:
    from intel_assets.engine import open_engine

    outcomes: dict[str, dict[str, str]] = {}
    failed: list[IntelError] = []
    with open_engine(settings, world_clock(settings)) as engine:
        for spec in specs:
            error = _ask_one(engine, spec, asked, outcomes.setdefault(spec.name, {}))
            failed += [error] if error else []
    return outcomes, failed


def _ask_one(
    engine: Engine, spec: SourceSpec, asked: list[Asked], outcomes: dict[str, str]
) -> IntelError | None:
    indicators = [(str(one.indicator), str(one.kind)) for one in asked]
    pipeline = engine.pipeline(spec, f"cli-{uuid4()}")
    with waiting(f"{spec.name}: {len(asked)} indicators"), engine.upstream(spec) as upstream:
        found, days = pipeline.look_up(indicators, upstream)
    outcomes.update(found.outcomes)
    counts: Counter[str] = Counter(found.outcomes.values())
    told = ", ".join(f"{counts[key]} {word}" for key, word in _WORDS.items() if counts[key])
    say(f"{spec.name}: {told or 'nothing was asked'}.")
    for day in days:
        if day.message:
            say(f"  {day.message}")
    if found.error is not None:
        say(f"  {len(indicators) - len(found.outcomes)} not asked: {found.error.what}")
        say(f"  {found.error.do}")
    return found.error


def _show(
    outcomes: dict[str, dict[str, str]], answers: list[dict[str, Any]], *, json: bool
) -> None:
    if json:
        show.document({"outcomes": outcomes, "answers": answers})
        return
    columns = ["indicator", "source", "asked_on", "answer", "reference"]
    show.rows(
        columns,
        [
            (one["indicator"], one["source"], one["asked_on"], said(one), one["reference"])
            for one in answers
        ],
    )


COMMANDS = {"enrich": enrich}
