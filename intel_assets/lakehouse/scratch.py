"""Scratch folders: one for each process at work, and those of killed ones swept away.

For bodies under way, which can be large. Nothing in them is ever the only copy.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from intel_assets.lakehouse.storage import storage_errors

_LOCK = "in-use.lock"


@contextmanager
def scratch(root: Path) -> Iterator[Path]:
    """Give a folder that is gone afterwards; what killed processes left goes first.

    A folder belongs to whoever holds the lock in it, and a dead process holds none.

    Args:
        root: Where the folders of all processes of this machine are.

    Raises:
        StorageError: If it cannot be written.
    """
    with storage_errors(str(root)):
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / "sweep.lock"):
            for left in root.glob("work-*"):
                _sweep(left)
            own = Path(tempfile.mkdtemp(prefix="work-", dir=root))
            held = FileLock(own / _LOCK)
            held.acquire()
    try:
        yield own
    finally:
        held.release()
        shutil.rmtree(own, ignore_errors=True)


def _sweep(folder: Path) -> None:
    try:
        with FileLock(folder / _LOCK, timeout=0):
            shutil.rmtree(folder, ignore_errors=True)
    except Timeout:
        return  # Its process is at work.
