"""The commands `allow` and `watch`: lists of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from intel_assets.cli import show
from intel_assets.cli.launching import views_following
from intel_assets.cli.lookup import given
from intel_assets.cli.rollout import whoami
from intel_assets.clock import parse_instant
from intel_assets.errors import UsageError
from intel_assets.lakehouse.catalog import Catalog
from intel_assets.lakehouse.format import check_format, check_writable
from intel_assets.lakehouse.views import TableName
from intel_assets.settings import load_settings
from intel_assets.world import world_clock

if TYPE_CHECKING:
    from intel_assets.threat.own_lists import ListName

_WITH_HITS = """
    SELECT entry.value, count(DISTINCT hit.indicator) AS indicators, owner, reason, since,
        expires_at
    FROM aggregated.own_entries AS entry
    LEFT JOIN aggregated.list_hits AS hit ON hit.kind = entry.list AND hit.value = entry.value
    WHERE entry.list = ?
    GROUP BY ALL
    ORDER BY entry.value
"""
_WITHOUT_HITS = """
    SELECT value, 0 AS indicators, owner, reason, since, expires_at
    FROM aggregated.own_entries
    WHERE list = ?
    ORDER BY value
"""

Values = Annotated[
    list[str] | None,
    typer.Argument(help="Addresses, ranges, names, URLs, hashes; the list is shown if left out."),
]
File = Annotated[Path | None, typer.Option("--file", "-f", help="A file of values.")]
Reason = Annotated[
    str | None, typer.Option("--reason", "-r", metavar="TEXT", help="Why, for whoever asks later.")
]
Owner = Annotated[
    str | None, typer.Option("--owner", help="Whose entries they are; you if left out.")
]
Until = Annotated[
    str | None, typer.Option("--until", metavar="T", help="Until when; for good if left out.")
]
Remove = Annotated[bool, typer.Option("--remove", help="Strike the values from the list.")]
AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]


def allow(
    values: Values = None,
    file: File = None,
    reason: Reason = None,
    owner: Owner = None,
    until: Until = None,
    remove: Remove = False,
    json: AsJson = False,
) -> None:
    """Keep what is yours out of every block list: values that are never to be blocked.

    An address or range holds for all that lies in it, a name for all below it. What is allowed is
    still told of, as suppressed by the allow-list, with the owner and the reason.
    """
    _command("allow", values, file, reason, owner, until, remove=remove, json=json)


def watch(
    values: Values = None,
    file: File = None,
    reason: Reason = None,
    owner: Owner = None,
    until: Until = None,
    remove: Remove = False,
    json: AsJson = False,
) -> None:
    """Be told when a feed tells of something: your own addresses, names, suppliers.

    Dagster's daemon raises the alert (docs/alerts.md); aggregated.watchlist_hits has all hits.
    """
    _command("watch", values, file, reason, owner, until, remove=remove, json=json)


def _command(
    name: ListName,
    values: list[str] | None,
    file: Path | None,
    reason: str | None,
    owner: str | None,
    until: str | None,
    *,
    remove: bool,
    json: bool,
) -> None:
    if values or file is not None:
        # Values that are named stay as they are: what is no indicator is told, and not left out.
        plain = values is not None and file is None and "-" not in values
        texts = list(values or []) if plain else given(values, file)
        _put(name, texts, reason, owner, until, remove=remove)
    elif remove or reason or owner or until:
        raise UsageError("No value is given.", "Name the values that this is about.")
    else:
        _show(name, json=json)


def _put(
    name: ListName,
    texts: list[str],
    reason: str | None,
    owner: str | None,
    until: str | None,
    *,
    remove: bool,
) -> None:
    from intel_assets.threat.own_lists import Word, put

    settings = load_settings()
    now = world_clock(settings)()
    if not reason and not remove:
        raise UsageError("An entry needs a reason.", 'Say it with --reason "our own network".')
    end = parse_instant(until) if until else None
    if end is not None and end <= now:
        raise UsageError(f"{until} has passed.", "Give --until a moment to come.")
    check_format(settings.layout, create=True)
    check_writable(settings.layout)
    word = Word(
        entered=not remove,
        owner=owner or whoami(),
        reason=reason or "",
        expires_at=end,
        who=whoami(),
        at=now,
    )
    with views_following(settings):
        values = put(settings.layout, name, texts, word)
    for value in values:
        typer.echo(f"{value}: {'struck from' if remove else 'entered in'} the {name}-list.")


def _show(name: ListName, *, json: bool) -> None:
    settings = load_settings()
    check_format(settings.layout)
    catalog = Catalog(settings.layout, clock=world_clock(settings))
    # Where no feed told of anything yet, there is nothing that an entry could meet.
    told = TableName("aggregated", "sightings") in catalog.tables()
    wanted = [TableName("aggregated", table) for table in ("own_entries", "list_hits")]
    with catalog.connect(wanted=wanted[: 1 + told]) as connection:
        query = _WITH_HITS if told else _WITHOUT_HITS
        answer = connection.execute(query, [name])
        columns = [column[0] for column in answer.description or []]
        found = answer.fetchall()
    if json:
        show.records(columns, found)
        return
    show.rows(columns, [(*row[:-2], *map(show.second, row[-2:])) for row in found])
    if not found:
        typer.echo(f"The {name}-list is empty.", err=True)


COMMANDS = {"allow": allow, "watch": watch}
