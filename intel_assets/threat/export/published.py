"""What is published: files at stable paths, for firewalls, resolvers and other systems to pull.

A file is replaced only by one that can be believed: a list that lost half of what it held since it
was last written stays as it was, until a person says that this is right. `manifest.json` says of
each file as of when it is and what it holds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import duckdb

from intel_assets.threat.export import blocklist, misp, stix, table
from intel_assets.threat.export.files import put
from intel_assets.threat.export.selection import Selection, Wanted, select

MANIFEST = "manifest.json"
COLLAPSE = 0.5
"""A file that holds less than this share of what it held is not believed ..."""
LEAST = 20
"""... if it held at least so many indicators."""

_ADDRESSES = ("ipv4", "ipv6", "cidr")
_NAMES = ("domain", "hostname")


def _list(form: blocklist.Form) -> Callable[[Selection], Iterator[str]]:
    return lambda selection: (f"{line}\n" for line in blocklist.lines(selection, form))


@dataclass(frozen=True)
class Publication:
    """A file that is published.

    Attributes:
        name: Its name among the assets.
        file: Its path below the folder; a MISP feed is a folder itself.
        description: What it is, and who pulls it.
        types: The types of indicators that it holds; all if empty.
        pieces: Returns its text.
    """

    name: str
    file: str
    description: str
    types: Sequence[str]
    pieces: Callable[[Selection], Iterator[str]] | None


PUBLICATIONS = (
    Publication(
        "block_addresses",
        "block-addresses.txt",
        "Addresses to block, as the fewest ranges: for firewalls.",
        _ADDRESSES,
        _list("cidr"),
    ),
    Publication(
        "block_names_hosts",
        "block-names.hosts",
        "Names to block, as a hosts file: for resolvers and Pi-hole.",
        _NAMES,
        _list("hosts"),
    ),
    Publication(
        "block_names_rpz",
        "block-names.rpz",
        "Names to block, as a response policy zone: for BIND, Unbound and Knot.",
        _NAMES,
        _list("rpz"),
    ),
    Publication(
        "block_urls", "block-urls.txt", "URLs to block: for proxies.", ("url",), _list("plain")
    ),
    Publication(
        "indicators_csv",
        "indicators.csv",
        "All that may leave, with every column: for SIEMs and sheets.",
        (),
        table.pieces,
    ),
    Publication(
        "indicators_stix",
        "indicators.stix.json",
        "All that may leave, as a STIX 2.1 bundle.",
        (),
        stix.pieces,
    ),
    Publication(
        "indicators_misp", "misp", "All that may leave, as a MISP feed in a folder.", (), None
    ),
)


@dataclass(frozen=True)
class Published:
    """What became of a file.

    Attributes:
        name: Of the publication.
        path: Where it is.
        as_of: As of when, ISO 8601.
        indicators: How many indicators it was made of.
        version: A digest of what it says, whenever that is said.
        refused: Why it was left as it was; empty if it was written.
    """

    name: str
    path: str
    as_of: str
    indicators: int
    version: str
    refused: str = ""


def publish(
    connection: duckdb.DuckDBPyConnection, folder: Path, wanted: Wanted
) -> Iterator[Published]:
    """Write every file that can be believed, and the manifest.

    Args:
        connection: Of a `Catalog`.
        folder: Where they stand; made if it is not there.
        wanted: What may leave; the types are each file's own.

    Raises:
        OSError: If the folder cannot be written. Each file is the old one or the new one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = manifest(folder)
    selections: dict[tuple[str, ...], Selection] = {}
    for publication in PUBLICATIONS:
        types = tuple(publication.types)
        if types not in selections:
            selections[types] = select(connection, replace(wanted, types=types))
        done = _publish(publication, selections[types], folder, before.get(publication.name, {}))
        if not done.refused:
            before[publication.name] = asdict(done) | {"path": publication.file}
            put(folder / MANIFEST, [json.dumps(before, indent=1, sort_keys=True)])
        yield done


def manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what the manifest says of each file; nothing if there is none that can be read."""
    with suppress(OSError, json.JSONDecodeError):
        told = json.loads((folder / MANIFEST).read_text("utf-8"))
        if isinstance(told, dict):
            return told
    return {}


def _publish(
    publication: Publication, selection: Selection, folder: Path, before: Mapping[str, Any]
) -> Published:
    path, count = folder / publication.file, selection.indicators.height
    done = Published(
        publication.name,
        str(path),
        selection.moment.isoformat(timespec="seconds"),
        count,
        _version(selection),
    )
    held = int(before.get("indicators", 0))
    if path.exists() and held >= LEAST and count < COLLAPSE * held:
        return replace(
            done,
            refused=f"it would hold {count:,} indicators where it held {held:,}, and stays as it "
            f"was on {str(before.get('as_of', ''))[:10]}; if that is right, remove {path}",
        )
    if publication.pieces is None:
        misp.write(selection, path)
    else:
        put(path, publication.pieces(selection))
    return done


def _version(selection: Selection) -> str:
    """Return a digest of which indicators leave, whatever time has made of them."""
    digest = hashlib.sha256()
    for indicator, kind in sorted(
        selection.indicators.select("indicator", "indicator_type").iter_rows()
    ):
        digest.update(f"{kind}\0{indicator}\n".encode())
    return digest.hexdigest()[:32]
