"""What all processes of one machine share about a host: its rate limit and its circuit breaker.

One SQLite file holds both, in transactions of a fraction of a millisecond. No request is made
here; the HTTP client asks for its turn and tells how it went.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from intel_assets.clock import Clock
from intel_assets.errors import HostUnavailable, StorageError, UpstreamUnavailable, UsageError
from intel_assets.lakehouse.storage import storage_errors

_SCHEMA = """
CREATE TABLE IF NOT EXISTS turns (
    id INTEGER PRIMARY KEY AUTOINCREMENT, host TEXT NOT NULL, granted REAL NOT NULL,
    frees REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS turns_of_host ON turns (host, granted);
CREATE TABLE IF NOT EXISTS circuits (
    host TEXT PRIMARY KEY, failures INTEGER NOT NULL DEFAULT 0, open_until REAL,
    trial_until REAL
);
"""
# A request whose arrival nobody confirmed counts as under way this long: a killed process, or a
# host that takes its time to answer.
_UNCONFIRMED = 2.0
# A turn from further in the future than this was granted before the clock was set back.
_CLOCK_WAS_SET_BACK = 60.0


class Turn:
    """The right to send one request now.

    Use as a context manager around sending: it counts as arrived when the block ends, or when
    `arrived` says so.
    """

    def __init__(self, ledger: HostLedger, row: int, window: float) -> None:
        """Keep what is needed to confirm the arrival."""
        self._ledger = ledger
        self._row: int | None = row
        self._window = window

    def __enter__(self) -> Self:
        """Return the turn itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Count the request as arrived, if nobody said so before."""
        self.arrived()

    def arrived(self) -> None:
        """Say that the host has seen the request: from now on its second runs."""
        if self._row is not None:
            self._ledger._confirm(self._row, self._window)
            self._row = None


class HostLedger:
    """The rate limits and circuit breakers of all hosts, over all processes that open one file.

    *Rate.* A host gets at most `rate` requests in any second, as the host sees it: a turn is not
    free again one second after it was granted but one second after its request is known to have
    arrived, so that no delay between the two can crowd requests together. Spacing comes on top:
    at most `burst` turns in `burst / rate` seconds.

    *Breaker.* Closed until `threshold` failures come in a row; then open for `cooldown` seconds;
    then half-open, which admits one trial over all processes. A trial's success closes the
    circuit, its failure opens it again. A trial that is never ended, because its process was
    killed, lapses after `lease` seconds.

    Safe to share between threads. Durations run on the machine's time, so a test's frozen clock
    does not stop them; `clock` only says when.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        threshold: int = 5,
        cooldown: float = 30.0,
        lease: float = 60.0,
    ) -> None:
        """Open the ledger, making the file if it is not there.

        Raises:
            StorageError: If the file cannot be written, or is no ledger.
        """
        self._path = path
        self._clock = clock
        self._threshold = threshold
        self._cooldown = cooldown
        self._lease = lease
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._pid = 0
        with self._transaction():
            pass

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._db is not None and self._pid == os.getpid():
                self._db.close()
            self._db = None

    def wait_turn(
        self, host: str, rate: float, burst: int = 1, *, give_up_after: float = 3600.0
    ) -> Turn:
        """Block until the host may be asked.

        Args:
            host: The name under which all processes know the host.
            rate: Requests per second; below 1, a request every `1 / rate` seconds.
            burst: How many may go without a space between them.
            give_up_after: Seconds that the wait may take.

        Raises:
            HostUnavailable: If the circuit is open, or the turn comes too late.
            UsageError: If the rate or the burst is not above zero.
        """
        if rate <= 0 or burst < 1:
            raise UsageError(
                f"The rate of {host} is {rate} requests per second with a burst of {burst}.",
                "Both must be above zero.",
            )
        deadline = time.monotonic() + give_up_after
        window = max(1.0, 1.0 / rate)
        while True:
            row, wait = self._try_turn(host, rate, burst, window)
            if row is not None:
                return Turn(self, row, window)
            if time.monotonic() + wait > deadline:
                retry_at = self._moment_in(wait)
                raise HostUnavailable(
                    f"{host} has no free turn for {give_up_after:g} s at {rate:g} requests per"
                    f" second; the next is not before {_told(retry_at)}.",
                    "Ask it for less at once, or raise its rate if its terms allow.",
                    retry_at=retry_at,
                )
            # A request under way may arrive, and so free its turn, before it was expected to.
            time.sleep(min(wait, window / 20))

    @contextmanager
    def guard(
        self, host: str, faults: tuple[type[Exception], ...] = (OSError, UpstreamUnavailable)
    ) -> Iterator[None]:
        """Let one request through the host's circuit, and tell the circuit how it ended.

        A block that ends is a success, one of `faults` is a failure, any other exception says
        nothing about the host.

        Raises:
            HostUnavailable: If the circuit is open, or half-open with its trial under way.
        """
        trial = self._admit(host)
        try:
            yield
        except faults:
            self._failed(host, trial)
            raise
        except BaseException:
            if trial:
                self._set_circuit(host, "trial_until = NULL")
            raise
        self._set_circuit(host, "failures = 0, open_until = NULL, trial_until = NULL")

    def _try_turn(
        self, host: str, rate: float, burst: int, window: float
    ) -> tuple[int | None, float]:
        spread = burst / rate
        with self._transaction() as db:
            now = time.time()
            self._refuse_open(db, host, now)
            db.execute(
                "DELETE FROM turns WHERE host = ? AND (frees <= ? AND granted <= ? OR granted > ?)",
                (host, now, now - spread, now + _CLOCK_WAS_SET_BACK),
            )
            rows = db.execute(
                "SELECT granted, frees FROM turns WHERE host = ? ORDER BY granted DESC", (host,)
            ).fetchall()
            wait = _wait([g for g, _ in rows], [f for _, f in rows], now, rate, burst)
            if wait > 0:
                return None, wait
            cursor = db.execute(
                "INSERT INTO turns (host, granted, frees) VALUES (?, ?, ?)",
                (host, now, now + window + _UNCONFIRMED),
            )
            return cursor.lastrowid, 0.0

    def _confirm(self, row: int, window: float) -> None:
        with self._transaction() as db:
            db.execute(
                "UPDATE turns SET frees = min(frees, ?) WHERE id = ?", (time.time() + window, row)
            )

    def _admit(self, host: str) -> bool:
        with self._transaction() as db:
            now = time.time()
            if not self._refuse_open(db, host, now):
                return False
            db.execute(
                "UPDATE circuits SET trial_until = ? WHERE host = ?", (now + self._lease, host)
            )
            return True

    def _refuse_open(self, db: sqlite3.Connection, host: str, now: float) -> bool:
        """Raise if nothing may pass; return whether the circuit is half-open."""
        found = db.execute(
            "SELECT open_until, trial_until FROM circuits WHERE host = ?", (host,)
        ).fetchone()
        open_until, trial_until = found or (None, None)
        if open_until is None or open_until > now + self._cooldown + _CLOCK_WAS_SET_BACK:
            return False
        if open_until > now:
            raise self._unavailable(host, open_until - now, "kept failing")
        if trial_until is not None and now < trial_until <= now + self._lease:
            raise self._unavailable(host, trial_until - now, "kept failing and is being tried")
        return True

    def _failed(self, host: str, trial: bool) -> None:
        with self._transaction() as db:
            db.execute(
                "INSERT INTO circuits (host, failures) VALUES (?, 1)"
                " ON CONFLICT (host) DO UPDATE SET failures = failures + 1",
                (host,),
            )
            # Failures of requests that left before it opened do not keep it open for longer.
            db.execute(
                "UPDATE circuits SET open_until = :until, trial_until = NULL WHERE host = :host"
                " AND (:trial OR failures >= :threshold AND open_until IS NULL)",
                {
                    "until": time.time() + self._cooldown,
                    "host": host,
                    "trial": trial,
                    "threshold": self._threshold,
                },
            )

    def _set_circuit(self, host: str, changes: str) -> None:
        with self._transaction() as db:
            # `changes` is one of two literals of this module.
            db.execute(f"UPDATE circuits SET {changes} WHERE host = ?", (host,))  # noqa: S608

    def _unavailable(self, host: str, wait: float, why: str) -> HostUnavailable:
        retry_at = self._moment_in(wait)
        return HostUnavailable(
            f"{host} {why}; it is not asked again before {_told(retry_at)}.",
            "Run this again after that.",
            retry_at=retry_at,
        )

    def _moment_in(self, seconds: float) -> datetime:
        return self._clock() + timedelta(seconds=seconds)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _ledger_errors(self._path):
            db = self._connection()
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                with suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def _connection(self) -> sqlite3.Connection:
        # A connection does not survive a fork; the child opens its own.
        if self._db is None or self._pid != os.getpid():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(
                self._path, timeout=30.0, isolation_level=None, check_same_thread=False
            )
            _prepare(db)
            self._db, self._pid = db, os.getpid()
        return self._db


def _wait(granted: list[float], frees: list[float], now: float, rate: float, burst: int) -> float:
    """Return the seconds until another turn is free; 0 when one is.

    Args:
        granted: When turns were granted, latest first.
        frees: When turns are free again.
        now: The present moment, seconds.
        rate: Requests per second.
        burst: How many may go without a space between them.
    """
    limit = max(1, int(rate))
    busy = sorted(moment for moment in frees if moment > now)
    waits = [0.0]
    if len(busy) >= limit:
        waits.append(busy[-limit] - now)
    if len(granted) >= burst:
        waits.append(granted[burst - 1] + burst / rate - now)
    return max(waits)


def _prepare(db: sqlite3.Connection) -> None:
    # Switching to WAL does not wait for others who are at it too, so it is tried again.
    deadline = time.monotonic() + 30.0
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    db.execute("PRAGMA synchronous = NORMAL")
    for statement in _SCHEMA.split(";"):
        db.execute(statement)


@contextmanager
def _ledger_errors(path: Path) -> Iterator[None]:
    try:
        with storage_errors(str(path)):
            yield
    except (sqlite3.Error, OSError) as error:
        raise StorageError(
            f"The ledger of hosts {path} cannot be used: {error}.",
            "If its folder is right, delete it; it holds nothing that is not made again.",
        ) from error


def _told(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
