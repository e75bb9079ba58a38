"""Foreign commits: changes to a table that none of this project's runs made.

Every commit of ours says which run made it; maintenance changes no data. Whatever else changes
rows was somebody with another tool, or a table that was restored.
https://github.com/delta-io/delta/blob/master/PROTOCOL.md#delta-log-entries
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date

from intel_assets.lakehouse.contracts import Contract
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.storage import storage_errors
from intel_assets.lakehouse.tables import Table


@dataclass(frozen=True)
class Foreign:
    """A foreign commit.

    Attributes:
        operation: What it did, in Delta's words (`WRITE`, `DELETE`, `RESTORE` ...).
        days: The partitions that it changed.
    """

    version: int
    operation: str
    days: tuple[date, ...]


def foreign_commits(layout: Layout, contract: Contract, after: int) -> tuple[list[Foreign], int]:
    """Return the foreign commits after a version, oldest first, and the table's version.

    Raises:
        StorageError: If the log cannot be read.
    """
    opened = Table(layout, contract).open()
    if opened is None:
        return [], -1
    newest = opened.version()
    with storage_errors(layout.table_uri(contract.layer, contract.name)):
        commits = opened.history(newest - after) if newest > after else []
        found = [
            Foreign(
                commit["version"], commit["operation"], _days(layout, contract, commit["version"])
            )
            for commit in reversed(commits)
            if commit["version"] > after and "run_id" not in commit
        ]
    return [one for one in found if one.days], newest


def _days(layout: Layout, contract: Contract, version: int) -> tuple[date, ...]:
    """Return the partitions whose rows a commit changed; none if its entry is gone already."""
    store = layout.store(layout.table_uri(contract.layer, contract.name))
    try:
        entry = bytes(store.get(f"_delta_log/{version:020}.json").bytes())
    except FileNotFoundError:
        return ()
    days = set()
    for line in entry.splitlines():
        action = json.loads(line)
        change = action.get("add") or action.get("remove")
        if change and change.get("dataChange", True):
            day = (change.get("partitionValues") or {}).get("day")
            days |= {date.fromisoformat(day)} if day else set()
    return tuple(sorted(days))
