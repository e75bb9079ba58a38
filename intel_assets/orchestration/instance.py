"""The instance: where Dagster keeps runs and events. Dagster concept: the instance.

Everything that starts Dagster opens it here first, under a lock: two first starts at once leave
its databases with two heads, and every later start fails (measured).
https://docs.dagster.io/deployment/oss/oss-instance-configuration
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.instance.ref import InstanceRef
from filelock import FileLock

from intel_assets.errors import ConfigurationError
from intel_assets.lakehouse.storage import storage_errors
from intel_assets.settings import Settings, project_home

HOME = "DAGSTER_HOME"
STORAGE = "INTEL_DAGSTER_STORAGE"
_SILENT: Mapping[str, Any] = {
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    }
}


def environment(settings: Settings) -> Mapping[str, str]:
    """Return what Dagster's processes need in their environment.

    Raises:
        ConfigurationError: If there is no dagster.yaml to be found.
    """
    home = project_home()
    if not (home / "dagster.yaml").is_file():
        raise ConfigurationError(
            f"There is no dagster.yaml in {home}.",
            f"Run this in the project's folder, or set {HOME} to it.",
        )
    # A tenant's assets have the keys of the lake's own: they need events of their own.
    own = "dagster" if settings.tenant is None else f"dagster-{settings.tenant}"
    storage = os.environ.get(STORAGE) or str(settings.state.absolute() / own)
    return {HOME: str(home), STORAGE: storage}


@contextmanager
def open_instance(settings: Settings, *, captures: bool = True) -> Iterator[dg.DagsterInstance]:
    """Open the instance, making its databases if they are not there yet.

    Args:
        settings: Of the lake.
        captures: Whether runs in this process write what they print where the UI shows it. It
            takes four processes a run, and a command that says it to whoever called it need not.

    Raises:
        ConfigurationError: If there is no dagster.yaml, or no folder to keep it in.
        StorageError: If the folder cannot be written.
    """
    found = environment(settings)
    os.environ.update(found)
    storage = Path(found[STORAGE])
    if storage.is_file():
        raise ConfigurationError(
            f"{storage}, where Dagster's runs are to be kept, is a file.",
            f"Set {STORAGE} to a folder, or leave it out.",
        )
    with storage_errors(str(storage)):
        storage.mkdir(parents=True, exist_ok=True)
        with FileLock(storage / "opening.lock"):
            ref = InstanceRef.from_dir(found[HOME], overrides=None if captures else _SILENT)
            instance = dg.DagsterInstance.from_ref(ref)
            # These are made on first use; they must be made while the lock is held.
            instance.get_runs(limit=1)
            instance.all_logs(run_id="")
            instance.all_instigator_state()
    with instance:
        yield instance
