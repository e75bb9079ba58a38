"""A host on loopback that does exactly what a test tells it, down to the single byte."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from intel_assets.clock import system_clock
from intel_assets.ingest.hosts import HostLedger
from intel_assets.ingest.http import HttpClient, HttpPolicy
from intel_assets.ingest.redact import Redactor
from intel_assets.lakehouse.landing import Landing
from intel_assets.lakehouse.layout import Layout

CANARY = "c4nary/Key+with=signs%and\"quotes'"
PATIENT = HttpPolicy(
    attempts=3,
    max_wait=0.05,
    connect_timeout=2,
    read_timeout=0.5,
    total_timeout=5,
    rate_per_second=1000,
    burst=1000,
)


@dataclass(frozen=True)
class Seen:
    """A request as the host saw it."""

    at: float
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int


Script = Callable[[Seen, socket.socket], None]


@dataclass
class Host:
    """A listening socket, its host and port, what it was asked, and what it does."""

    listener: socket.socket
    name: str
    script: Script
    seen: list[Seen] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """The address of its root."""
        return f"http://{self.name}/"

    def serve(self) -> None:
        """Accept connections until closed."""
        number = 0
        while not self.closing.is_set():
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            number += 1
            threading.Thread(target=self._talk, args=(connection, number), daemon=True).start()

    def _talk(self, connection: socket.socket, number: int) -> None:
        with connection, suppress(OSError):
            while (seen := _read(connection, number)) is not None:
                self.seen.append(seen)
                self.script(seen, connection)


def _read(connection: socket.socket, number: int) -> Seen | None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return None
        data += more
    at = time.monotonic()
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    pairs = [line.split(": ", 1) for line in lines]
    headers = {name.lower(): value for name, value in pairs}
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65536)
    return Seen(at, method, target, headers, body, number)


def answer(status: int = 200, body: bytes = b"", **headers: str) -> bytes:
    """Return the bytes of an answer; underscores in header names become hyphens."""
    lines = [f"HTTP/1.1 {status} Word", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def saying(*answers: bytes) -> Script:
    """Return a script that gives the answers one after the other, then the last for ever."""
    left = list(answers)

    def script(_: Seen, connection: socket.socket) -> None:
        connection.sendall(left.pop(0) if len(left) > 1 else left[0])

    return script


def breaking_off(data: bytes) -> Script:
    """Return a script that sends these bytes and closes the connection."""

    def script(_: Seen, connection: socket.socket) -> None:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_RDWR)

    return script


@contextmanager
def hosting(script: Script) -> Iterator[Host]:
    """Run a host for the length of a block."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    host = Host(listener, f"127.0.0.1:{listener.getsockname()[1]}", script)
    threading.Thread(target=host.serve, daemon=True).start()
    try:
        yield host
    finally:
        host.closing.set()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.fixture
def host() -> Iterator[Host]:
    """A host; give it a script."""
    with hosting(saying(answer(200, b"hello"))) as running:
        yield running


@pytest.fixture
def landing(tmp_path: Path) -> Iterator[Landing]:
    """An empty landing."""
    with Landing(Layout(str(tmp_path / "lake")), spool=tmp_path / "spool") as opened:
        yield opened


@pytest.fixture
def ledger(tmp_path: Path) -> HostLedger:
    """An empty ledger with a short memory."""
    return HostLedger(tmp_path / "hosts.db", system_clock, threshold=50, cooldown=0.3, lease=0.5)


@pytest.fixture
def naps() -> list[float]:
    """The waits between attempts, none of which is waited."""
    return []


@pytest.fixture
def client(landing: Landing, ledger: HostLedger, naps: list[float]) -> Iterator[HttpClient]:
    """A client that does not wait between attempts."""
    redactor = Redactor({"CANARY": CANARY})
    with HttpClient(landing, ledger, redactor, system_clock, PATIENT, sleep=naps.append) as made:
        yield made
