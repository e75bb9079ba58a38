"""One at a time: upkeep and backup of a lake exclude each other on a machine. Runs need no lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from intel_assets.lakehouse.storage import storage_errors


@contextmanager
def alone(state: Path, tenant: str | None = None, *, patience: float = 0.0) -> Iterator[bool]:
    """Hold the lock of upkeep and backup, and tell whether it could be had.

    Args:
        state: The folder that the processes of this machine share.
        tenant: The tenant whose tables are meant.
        patience: How many seconds to wait for who holds it.
    """
    name = "upkeep.lock" if tenant is None else f"upkeep-{tenant}.lock"
    with storage_errors(str(state)):
        state.mkdir(parents=True, exist_ok=True)
        lock = FileLock(state / name)
        try:
            lock.acquire(timeout=patience)
        except Timeout:
            free = False
        else:
            free = True
    try:
        yield free
    finally:
        if free:
            lock.release()
