"""The command `export`: indicators as block lists, tables, STIX bundles and MISP feeds."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from intel_assets.cli.ask import AsOf, past
from intel_assets.errors import StorageError, UsageError
from intel_assets.lakehouse.catalog import Catalog
from intel_assets.lakehouse.format import check_format
from intel_assets.lakehouse.views import TableName
from intel_assets.settings import load_settings
from intel_assets.world import world_clock

if TYPE_CHECKING:
    from intel_assets.threat.export.selection import Selection

_TABLES = {TableName("aggregated", name) for name in ("indicators", "feeds", "sightings")}

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
    try:
        count = write(selection, folder)
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be written: {error.strerror}.", "Name a folder that can be."
        ) from None
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
    import polars as pl

    found = _select(types, min_confidence, tlp, include_restricted, as_of).indicators
    flat = found.with_columns(
        pl.col(pl.List(pl.String)).list.join("|"),
        pl.col("source_confidences").cast(pl.List(pl.String)).list.join("|"),
    )
    _write([flat.write_csv(datetime_format="%Y-%m-%dT%H:%M:%S%.3fZ")], out)


def _select(
    types: str, least: float, tlp: str, restricted: list[str] | None, as_of: str | None
) -> Selection:
    from intel_assets.threat.export.selection import Wanted, select

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
    with Catalog(settings.layout, clock=clock).connect(as_of=moment, wanted=_TABLES) as connection:
        return select(connection, wanted)


def _write(pieces: Iterable[str], out: Path | None) -> None:
    """Write to standard output, or aside and then in place of a file."""
    if out is None:
        for piece in pieces:
            sys.stdout.write(piece)
        return
    aside = out.with_name(f".{out.name}.new")
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.writelines(pieces)
        aside.replace(out)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise StorageError(
            f"{out} cannot be written: {error.strerror}.", "Name a file in a folder that is there."
        ) from None


APPS = {"export": export_app}
