"""The lake's format: which version of the layout it is of, and how an older one is upgraded.

The version stands in `<lake>/lake.json`. A lake without it that holds tables is of format 0.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import obstore

from intel_assets.errors import LakeReadOnly, LakeTooNew, LakeTooOld, StorageError
from intel_assets.lakehouse.layout import LAYERS, Layout
from intel_assets.lakehouse.storage import storage_errors

FORMAT = 1
MARKER = "lake.json"
Step = Callable[[Layout], None]


def _mark_only(layout: Layout) -> None:
    """Format 0 had the same tables and no marker."""


STEPS: Mapping[int, Step] = {0: _mark_only}
"""For each older format, what makes it the next one."""


def read_format(layout: Layout) -> int | None:
    """Return the lake's format; None for a lake that does not exist yet.

    Raises:
        StorageError: If the marker is damaged.
    """
    if layout.is_local and not Path(layout.base).exists():
        return None
    with storage_errors(layout.base):
        store = layout.store(layout.base)
        try:
            marker = obstore.get(store, MARKER).bytes()
        except FileNotFoundError:
            found = obstore.list_with_delimiter(store)["common_prefixes"]
            return 0 if any(prefix.strip("/") in LAYERS for prefix in found) else None
    try:
        return int(json.loads(bytes(marker))["format"])
    except (ValueError, KeyError, TypeError):
        raise StorageError(
            f"{layout.base}/{MARKER} is damaged.", f'It should read {{"format": {FORMAT}}}.'
        ) from None


def check_format(layout: Layout, *, create: bool = False) -> None:
    """Refuse a lake of another format.

    Args:
        layout: The lake.
        create: Whether to mark a lake that does not exist yet.

    Raises:
        LakeTooNew: If a newer version of this program wrote it.
        LakeTooOld: If it wants `intel upgrade`.
    """
    found = read_format(layout)
    if found is None:
        if create:
            _mark(layout)
    elif found > FORMAT:
        raise LakeTooNew(
            f"The lake {layout.base} is of format {found}; this version reads {FORMAT}.",
            "Use the version that wrote it, or a newer one.",
        )
    elif found < FORMAT:
        raise LakeTooOld(
            f"The lake {layout.base} is of format {found}; this version writes {FORMAT}.",
            "Run `intel upgrade`; it changes the lake in place.",
        )


def check_writable(layout: Layout) -> None:
    """Refuse a folder that cannot be written, before any library trips over it.

    Raises:
        LakeReadOnly: If this user may not write there.
    """
    base = Path(layout.base)
    if layout.is_local and base.exists() and not os.access(base, os.W_OK):
        raise LakeReadOnly(
            f"{base} is read-only for this user.",
            "Make it writable, or set INTEL_LAKE to another place.",
        )


def upgrade(layout: Layout, steps: Mapping[int, Step] = STEPS) -> list[int]:
    """Bring a lake to this version's format, a step at a time; a step that fails can be repeated.

    Returns:
        The formats it went through, the first one included.

    Raises:
        LakeTooNew: If a newer version of this program wrote it.
    """
    found = read_format(layout)
    if found is None:
        _mark(layout)
        return [FORMAT]
    if found > FORMAT:
        check_format(layout)
    passed = [found]
    for step in range(found, FORMAT):
        with storage_errors(layout.base):
            steps[step](layout)
        _mark(layout, step + 1)
        passed.append(step + 1)
    return passed


def _mark(layout: Layout, version: int = FORMAT) -> None:
    with storage_errors(layout.base):
        text = json.dumps({"format": version}) + "\n"
        obstore.put(layout.store(layout.base), MARKER, text.encode())
