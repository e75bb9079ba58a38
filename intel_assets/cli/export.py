"""The command `export`: indicators as block lists, tables, STIX bundles and MISP feeds."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from intel_assets.cli.ask import AsOf, past
from intel_assets.errors import DataError, StorageError, UsageError
from intel_assets.lakehouse.catalog import Catalog
from intel_assets.lakehouse.format import check_format
from intel_assets.settings import load_settings
from intel_assets.world import world_clock

if TYPE_CHECKING:
    from intel_assets.threat.export.selection import Selection

export_app = typer.Typer(
    no_args_is_help=True,
    help="Write indicators for firewalls, resolvers and other systems.",
)

Types = Annotated[
    str, typer.Option("--types", help="Types of indicators, commas between; all if left out.")
]
Least = Annotated[
    float, typer.Option("--min-confidence", min=0, max=100, help="The least confidence.")
]
Scope = Annotated[
    str, typer.Option("--tlp", help="The narrowest sharing scope (TLP) that may leave.")
]
Restricted = Annotated[
    list[str] | None,
    typer.Option(
        "--include-restricted",
        metavar="FEED",
        help="A feed whose terms forbid passing on, and that is to leave all the same.",
    ),
]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="A file; standard output if left out.")
]


@export_app.command()
def blocklist(
    form: Annotated[str, typer.Option("--format", help="plain, hosts, rpz or cidr.")] = "plain",
    types: Types = "",
    min_confidence: Least = 30.0,
    tlp: Scope = "green",
    include_restricted: Restricted = None,
    as_of: AsOf = None,
    out: Out = None,
) -> None:
    """Write a block list; with --as-of, the one that would have been written then."""
    from intel_assets.threat.export.blocklist import FORMS, lines

    if form not in FORMS:
        raise UsageError(f"There is no form '{form}'.", f"There are {', '.join(FORMS)}.")
    selection = _select(types, min_confidence, tlp, include_restricted, as_of)
    _write((f"{line}\n" for line in lines(selection, form)), out)


@export_app.command()
def stix(
    types: Types = "",
    min_confidence: Least = 30.0,
    tlp: Scope = "green",
    include_restricted: Restricted = None,
    as_of: AsOf = None,
    out: Out = None,
) -> None:
    """Write a STIX 2.1 bundle; how long each indicator is valid follows from its decay."""
    from intel_assets.threat.export.stix import pieces

    _write(pieces(_select(types, min_confidence, tlp, include_restricted, as_of)), out)


@export_app.command()
def misp(
    folder: Annotated[
        Path, typer.Option("--out", "-o", help="The feed's folder; made if it is not there.")
    ],
    types: Types = "",
    min_confidence: Least = 30.0,
    tlp: Scope = "green",
    include_restricted: Restricted = None,
    as_of: AsOf = None,
) -> None:
    """Write a MISP feed: manifest, hashes and events in a folder that a MISP server can pull.

    Written again into the same folder, only events that say something else get a new timestamp.
    """
    from intel_assets.threat.export.misp import write

    selection = _select(types, min_confidence, tlp, include_restricted, as_of)
    with _written(folder):
        count = write(selection, folder)
    left = selection.indicators.height - count
    typer.echo(
        f"{count:,} indicators in {folder}." + (f" MISP has no type for {left:,}." if left else ""),
        err=True,
    )


@export_app.command()
def csv(
    types: Types = "",
    min_confidence: Least = 30.0,
    tlp: Scope = "green",
    include_restricted: Restricted = None,
    as_of: AsOf = None,
    out: Out = None,
) -> None:
    """Write a table with every column; lists are joined by `|`."""
    from intel_assets.threat.export.table import pieces

    _write(pieces(_select(types, min_confidence, tlp, include_restricted, as_of)), out)


@export_app.command()
def publish(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A folder; INTEL_EXPORTS if left out.")
    ] = None,
) -> None:
    """Write every file that is published, as the schedule does each hour.

    INTEL_EXPORT_MIN_CONFIDENCE and INTEL_EXPORT_TLP say what may leave. A list that lost half of
    what it held stays as it was; exit code 5 then, with the reason.
    """
    from intel_assets.threat.export.published import publish as write
    from intel_assets.threat.export.selection import TABLES, Wanted

    settings = load_settings()
    check_format(settings.layout)
    folder = out or settings.export_folder
    catalog = Catalog(settings.layout, clock=world_clock(settings))
    wanted = Wanted(min_confidence=settings.export_min_confidence, tlp=settings.export_tlp.lower())
    refused = []
    with catalog.connect(wanted=TABLES) as connection, _written(folder):
        for done in write(connection, folder, wanted):
            refused += [f"{done.name}: {done.refused}."] if done.refused else []
            typer.echo(f"{done.indicators:>8,}  {done.path}" + ("  (refused)" * bool(done.refused)))
    if refused:
        raise DataError(" ".join(refused), "Look at what the feeds tell before removing a file.")


def _select(
    types: str, least: float, tlp: str, restricted: list[str] | None, as_of: str | None
) -> Selection:
    from intel_assets.threat.export.selection import TABLES, Wanted, select

    settings = load_settings()
    check_format(settings.layout)
    clock = world_clock(settings)
    wanted = Wanted(
        [kind.strip() for kind in types.split(",") if kind.strip()],
        least,
        tlp.lower(),
        restricted or [],
    )
    moment = past(as_of, clock) if as_of else None
    with Catalog(settings.layout, clock=clock).connect(as_of=moment, wanted=TABLES) as connection:
        return select(connection, wanted)


def _write(pieces: Iterable[str], out: Path | None) -> None:
    """Write to standard output, or a file."""
    if out is None:
        for piece in pieces:
            sys.stdout.write(piece)
        return
    from intel_assets.threat.export.files import put

    with _written(out):
        put(out, pieces)


@contextmanager
def _written(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{place} cannot be written: {error.strerror}.", "Name a place that can be."
        ) from None


APPS = {"export": export_app}
