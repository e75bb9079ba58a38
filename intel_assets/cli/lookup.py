"""The command `lookup`: what is known of indicators."""

from __future__ import annotations

import json as jsons
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from intel_assets.cli.ask import AsJson, AsOf, past
from intel_assets.errors import UsageError
from intel_assets.lakehouse.catalog import Catalog
from intel_assets.lakehouse.format import check_format
from intel_assets.lakehouse.views import TableName
from intel_assets.settings import load_settings
from intel_assets.world import world_clock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from intel_assets.threat.lookup import Answer, Hit

_TABLES = {TableName("aggregated", name) for name in ("indicators", "sightings")}
_RELATIONS = {
    "range": "{} lies in this range",
    "parent": "{} lies below this name",
    "host": "this is the host of {}",
    "url": "it lies at {}",
}


def lookup(
    values: Annotated[
        list[str] | None,
        typer.Argument(help="Indicators, as they are pasted; `-` reads standard input."),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="A file of indicators.")] = None,
    timeline: Annotated[
        bool,
        typer.Option("--timeline", help="Each time that a feed began to tell of it, in a line."),
    ] = False,
    as_of: AsOf = None,
    json: AsJson = False,
) -> None:
    """Tell what all feeds say of addresses, ranges, names, URLs, hashes and CVEs.

    Takes what people paste: hxxp://, [.], quotes, ports. An address in a listed range, and a name
    below a listed one, are found too. Exit code 1 if nothing is known of any of them.
    """
    from intel_assets.threat.lookup import HELD, LOOKUPS, look_up

    asked = given(values, file)
    settings = load_settings()
    check_format(settings.layout)
    clock = world_clock(settings)
    catalog = Catalog(settings.layout, clock=clock)
    moment = past(as_of, clock) if as_of else None
    there = set(catalog.tables())
    enriched = [name for name in LOOKUPS if TableName("cleaned", name) in there]
    wanted = _TABLES | {TableName("cleaned", name) for name in enriched}
    with catalog.connect(as_of=moment, wanted=wanted, held=HELD) as connection:
        answers = [look_up(connection, text, enriched, stretches=timeline) for text in asked]
    if json:
        typer.echo(jsons.dumps([_as_dict(one) for one in answers], default=str, indent=2))
    else:
        for answer in answers:
            typer.echo("\n".join(_told(answer)) + "\n")
    if not any(answer.hits or answer.answers for answer in answers):
        raise typer.Exit(1)


def given(values: list[str] | None, file: Path | None) -> list[str]:
    """Return what may be indicators in arguments, a file, or standard input for `-`.

    Raises:
        UsageError: If there is no such file, or nothing in it.
    """
    from intel_assets.threat.lookup import words

    texts = list(values or [])
    if file is not None:
        if not file.is_file():
            raise UsageError(f"There is no file {file}.", "Name a file that is there.")
        texts.append(file.read_text("utf-8", errors="replace"))
    if "-" in texts:
        texts[texts.index("-")] = sys.stdin.read()
    asked = list(dict.fromkeys(word for text in texts for word in words(text)))
    if not asked:
        raise UsageError("Nothing is asked for.", "Give indicators, a file, or `-`.")
    return asked


def _as_dict(answer: Answer) -> dict[str, Any]:
    return {
        "asked": answer.asked.text,
        "indicator": answer.asked.indicator,
        "hits": [
            {"relation": hit.relation, **hit.facts, "timeline": hit.timeline} for hit in answer.hits
        ],
        "more_urls": answer.more_urls,
        "answers": answer.answers,
    }


def _told(answer: Answer) -> Iterator[str]:
    asked = answer.asked
    if asked.indicator is None:
        yield f"{asked.text}: this is no indicator"
    elif not answer.hits:
        yield f"{asked.indicator}: no feed tells of it"
    for hit in answer.hits:
        yield from _told_of(hit, str(asked.indicator))
    if answer.more_urls:
        yield f"  and {answer.more_urls:,} more URLs at {asked.indicator}"
    for one in answer.answers:
        yield f"  {one['source']}, asked on {one['asked_on']}: {said(one)}"


def said(answer: Mapping[str, Any]) -> str:
    """Say in a line what a source answered that was asked of an indicator."""
    sure = answer["confidence"]
    parts = [
        f"confidence {sure} of 100" if sure is not None else None,
        answer["threat"],
        answer["malware"],
        ", ".join(answer["tags"] or []),
        f"last seen {answer['last_seen']:%Y-%m-%d}" if answer["last_seen"] else None,
    ]
    return " · ".join(part for part in parts if part) or "nothing bad"


def _told_of(hit: Hit, asked: str) -> Iterator[str]:
    facts = hit.facts
    yield (
        f"{facts['indicator']} ({facts['indicator_type']}): {facts['status']}, confidence "
        f"{facts['confidence']:g} of 100 (evidence {facts['evidence']:g}, decay {facts['decay']:g})"
    )
    if hit.relation != "itself":
        yield "  " + _RELATIONS[hit.relation].format(asked)
    if facts["suppressed"]:
        yield f"  suppressed by {facts['suppressed_by']}: {facts['suppression_reason']}"
    if facts["reserved"]:
        yield "  the internet does not route this address"
    told = {
        "malware": ", ".join(facts["malware"] or []),
        "threat": ", ".join(facts["threats"] or []),
        "tags": ", ".join(facts["tags"] or []),
        "sharing": f"TLP:{facts['tlp'].upper()}" if facts["tlp"] else "",
    }
    yield from (f"  {name}: {text}" for name, text in told.items() if text)
    yield f"  first told of by {facts['first_reporter']}"
    for row in hit.timeline:
        days = f"on {row['first_day']}"
        if row["days"] > 1:
            days = f"{row['first_day']} to {row['last_day']}, {row['days']} days"
        gone = f", gone on {row['gone_on']}" if row["gone_on"] else ""
        yield f"  {row['source']}: {days}{gone}"


COMMANDS = {"lookup": lookup}
