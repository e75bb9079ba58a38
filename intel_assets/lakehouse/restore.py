"""A lake out of a backup: into an empty place, or with what was there moved aside.

Everything is copied next to where it belongs first and moved into place at the end, the lake's
marker last. What was there before is never deleted. See also backup.py.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import obstore

from intel_assets.errors import ConfigurationError, StorageError, UsageError
from intel_assets.lakehouse import copies
from intel_assets.lakehouse.backup import LOG_FILE, Say
from intel_assets.lakehouse.catalog import SHIPPED_NAME
from intel_assets.lakehouse.format import MARKER
from intel_assets.lakehouse.layout import LAYERS, Layout
from intel_assets.lakehouse.manifest import (
    BESIDE,
    LANDING,
    TABLES,
    Manifest,
    flaw,
    read_manifest,
)
from intel_assets.lakehouse.storage import storage_errors

_STAGE = ".restoring"
_BEFORE = "before-"
_LAKE = (*LAYERS, LANDING, MARKER, SHIPPED_NAME)


@dataclass(frozen=True)
class _Place:
    """A folder that something is restored into, and the names that are ours in it."""

    folder: Path
    names: tuple[str, ...]

    @property
    def held(self) -> list[Path]:
        """What of ours is there; the marker last."""
        there = [self.folder / name for name in self.names if (self.folder / name).exists()]
        return sorted(there, key=lambda path: path.name == MARKER)


@dataclass(frozen=True)
class Restored:
    """What a restore came to.

    Attributes:
        aside: Where what was there before is now.
    """

    manifest: Manifest
    aside: list[Path] = field(default_factory=list)


def restore(
    folder: Path,
    layout: Layout,
    beside: Mapping[str, Path],
    now: datetime,
    *,
    force: bool = False,
    say: Say = lambda _: None,
) -> Restored:
    """Bring back a lake, or one tenant's part of it, and what stood beside it.

    Args:
        folder: The backup.
        layout: Where the lake is to be.
        beside: By name, the folder of this machine that what stood beside it belongs in.
        now: Names the folder for what was there before.
        force: Whether what is there may be moved aside.
        say: Is told what is under way.

    Raises:
        UsageError: If there is no complete backup, or the place holds something.
        ConfigurationError: If something at a URI would have to be moved aside.
        LakeTooNew: If a newer version of this program made the backup.
        StorageError: If the backup is damaged, or something cannot be written.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise UsageError(f"{folder} holds no complete backup.", "Name the folder of one.")
    if manifest.tenant != layout.tenant:
        whose = f"the tenant {manifest.tenant}" if manifest.tenant else "no tenant"
        raise UsageError(f"{folder} is a backup of {whose}.", "Set INTEL_TENANT accordingly.")
    _check_backup(folder, manifest)
    places = [_Place(Path(layout.base), _LAKE)] if layout.is_local else []
    for name, where in beside.items():
        saved = folder / BESIDE / name
        if saved.is_dir():
            places.append(_Place(where, tuple(sorted(one.name for one in saved.iterdir()))))
    _check_places(layout, places, force=force)
    if layout.is_local:
        stage = _fresh(Path(layout.base) / _STAGE)
        staged = Layout(str(stage))
        copies.need_room(stage, manifest.bytes)
        _copy_lake(folder, manifest, staged, say)
    for name, where in beside.items():
        if (folder / BESIDE / name).is_dir():
            say(f"{name}: {manifest.beside.get(name, 0):,} files")
            stage = _fresh(where / _STAGE)
            with storage_errors(str(stage)):
                shutil.copytree(folder / BESIDE / name, stage, dirs_exist_ok=True)
    stamp = f"{_BEFORE}{now:%Y%m%dT%H%M%SZ}"
    aside = [moved for place in places if (moved := _move_aside(place, stamp))]
    for place in places:
        _move_in(place.folder)
    if not layout.is_local:
        _copy_lake(folder, manifest, layout, say)
    return Restored(manifest, aside)


def _check_backup(folder: Path, manifest: Manifest) -> None:
    for name, table in manifest.tables.items():
        why = flaw(_saved(folder, name, table.folder), table.version)
        if why is not None:
            raise StorageError(
                f"The backup {folder} is damaged: {name}: {why}.", "Use another backup."
            )
    bodies = len(copies.present(folder / LANDING))
    if bodies < manifest.bodies:
        raise StorageError(
            f"The backup {folder} lacks {manifest.bodies - bodies} bodies.", "Use another backup."
        )


def _check_places(layout: Layout, places: Iterable[_Place], *, force: bool) -> None:
    held = [place.held[-1] for place in places if place.held]
    if held and not force:
        raise UsageError(
            f"{held[0]} is there already.",
            "Name another place in the settings, or add --force: then it is moved aside.",
        )
    if not layout.is_local:
        store = layout.store(layout.base)
        there = {prefix.strip("/") for prefix in _top(store)}
        if there & {*LAYERS, LANDING, MARKER}:
            raise ConfigurationError(
                f"{layout.base} holds a lake, and at a URI nothing is moved aside.",
                "Set INTEL_LAKE to an empty place.",
            )


def _top(store: obstore.store.ObjectStore) -> list[str]:
    found = obstore.list_with_delimiter(store)
    return [*found["common_prefixes"], *(entry["path"] for entry in found["objects"])]


def _copy_lake(folder: Path, manifest: Manifest, layout: Layout, say: Say) -> None:
    """Copy tables, landing and, last of all, the marker that makes it a lake."""
    store = layout.store(layout.base)
    for number, (name, table) in enumerate(manifest.tables.items(), 1):
        say(f"tables: {name} ({number} of {len(manifest.tables)})")
        saved = _saved(folder, name, table.folder)
        files = [
            path
            for path in copies.present(saved)
            # An unfinished backup may have left more.
            if (found := LOG_FILE.fullmatch(path)) is None or int(found[1]) <= table.version
        ]
        copies.put_all(saved, files, store, name.replace(".", "/"), lambda _: None)
    say(f"landing: {manifest.bodies:,} bodies")
    bodies = copies.present(folder / LANDING)
    copies.put_all(folder / LANDING, bodies, store, LANDING, _counter(say))
    text = json.dumps({"format": manifest.lake_format}) + "\n"
    with storage_errors(layout.base):
        obstore.put(store, MARKER, text.encode())


def _counter(say: Say) -> Callable[[str], None]:
    done = 0

    def told(_: str) -> None:
        nonlocal done
        done += 1
        if done % 100 == 0:
            say(f"landing: {done:,} bodies copied")

    return told


def _saved(folder: Path, name: str, number: str) -> Path:
    layer, _, own = name.partition(".")
    return folder / TABLES / layer / own / number


def _fresh(stage: Path) -> Path:
    """Return an empty folder; what is in it is what an unfinished restore copied."""
    with storage_errors(str(stage)):
        shutil.rmtree(stage, ignore_errors=True)
        stage.mkdir(parents=True)
    return stage


def _move_aside(place: _Place, stamp: str) -> Path | None:
    if not (held := place.held):
        return None
    aside, number = place.folder / stamp, 1
    while aside.exists():
        number += 1
        aside = place.folder / f"{stamp}-{number}"
    with storage_errors(str(place.folder)):
        aside.mkdir()
        for one in held:
            one.rename(aside / one.name)
    return aside


def _move_in(place: Path) -> None:
    stage = place / _STAGE
    with storage_errors(str(place)):
        for one in sorted(stage.iterdir(), key=lambda path: path.name == MARKER):
            one.rename(place / one.name)
        stage.rmdir()
