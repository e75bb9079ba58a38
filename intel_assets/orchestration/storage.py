"""Dagster's storage in SQLite files, with connections that stay open. Dagster concept: storage.

Dagster's own connects anew for every event, two to four times: SQLAlchemy then compiles each
statement again, and the last connection to leave a file writes its log back. That is three
quarters of what an event costs (benchmarks/events.py), and a day of a source has seven.
https://docs.dagster.io/deployment/oss/oss-instance-configuration#storage
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dagster._core.storage.event_log.sqlite.sqlite_event_log import (
    INDEX_SHARD_NAME,
    SqliteEventLogStorage,
)
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import (
    DagsterSqliteStorage,
    _event_logs_directory,
)
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import StaticPool

HELD_RUNS = 4
"""Runs whose files stay open; the file over all runs always does."""


class HeldEventLog(SqliteEventLogStorage):
    """Dagster's event log, which keeps the connections to the files that it used last."""

    def __init__(self, base_dir: str) -> None:
        """Open the log that a folder has, or make it."""
        self._held: OrderedDict[str, Engine] = OrderedDict()
        super().__init__(base_dir)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        if shard not in self._initialized_dbs:
            with super()._connect(shard):
                pass  # It makes the file.
            with self._db_lock:
                self._leave(shard)  # What is held may be a file that was deleted.
        # Dagster's lock: one thread at a time has the connection.
        with self._db_lock, self._engine(shard).connect() as connection, connection.begin():
            yield connection

    def _engine(self, shard: str) -> Engine:
        engine = self._held.pop(shard, None)
        if engine is None:
            engine = create_engine(
                self.conn_string_for_shard(shard),
                poolclass=StaticPool,
                connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
            )
            event.listen(engine, "connect", _sync_at_checkpoints)
        self._held[shard] = engine
        runs = [name for name in self._held if name != INDEX_SHARD_NAME]
        for name in runs[:-HELD_RUNS]:
            self._leave(name)
        return engine

    def _leave(self, shard: str) -> None:
        engine = self._held.pop(shard, None)
        if engine is not None:
            engine.dispose()

    def dispose(self) -> None:
        """Close what is open."""
        super().dispose()
        with self._db_lock:
            for shard in list(self._held):
                self._leave(shard)


def _sync_at_checkpoints(connection: sqlite3.Connection, record: object) -> None:
    # A power cut then costs the last events and never the file, and what the tables hold and
    # Dagster does not know is reported to it (reconcile.py). https://sqlite.org/wal.html
    connection.execute("PRAGMA synchronous = NORMAL")


class HeldSqliteStorage(DagsterSqliteStorage):
    """Dagster's storage in SQLite files, its event log with connections that stay open."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        """Open the storage that a folder has, or make it."""
        super().__init__(base_dir, inst_data)
        self._event_log_storage = HeldEventLog(_event_logs_directory(base_dir))

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> HeldSqliteStorage:
        """Make it as dagster.yaml says."""
        return cls.from_local(inst_data=inst_data, **config_value)
