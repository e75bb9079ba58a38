"""The simulator: one local HTTP server that plays every upstream host below its own path prefix.

`https://host/path` is played at `<simulator>/host/path`. To add an API, write one file with
`HOSTS` and `routes(stage)` and name it in `APIS`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import FrameType
from typing import Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from intel_assets.clock import Clock
from intel_assets.errors import ConfigurationError, IntelError
from intel_assets.simulator import (
    control,
    enrichment,
    kev,
    malware,
    misp,
    otx,
    plain_lists,
    references,
    reputation,
    threatfox,
    tweetfeed,
    urlhaus,
)
from intel_assets.simulator.faults import TRANSPORT, Faults
from intel_assets.simulator.front import Front, Pace
from intel_assets.simulator.journal import Journal, RecordedRequest
from intel_assets.simulator.recordings import Recordings
from intel_assets.simulator.stage import Stage
from intel_assets.simulator.timeline import SimulatedClock

_PLAYED = (
    urlhaus,
    tweetfeed,
    plain_lists,
    threatfox,
    malware,
    kev,
    reputation,
    enrichment,
    otx,
    references,
    misp,
)
APIS: tuple[Callable[[Stage], list[BaseRoute]], ...] = tuple(api.routes for api in _PLAYED)
HOSTS = tuple(dict.fromkeys(host for api in _PLAYED for host in api.HOSTS))

_PATIENCE = 10.0


class Simulator:
    """A running or stopped simulator; use it as a context manager, or `start` and `stop` it.

    Attributes:
        clock: The simulated time: `set`, `advance`, `run`.
        faults: What is to go wrong: `add`, `remove`, `clear`.
    """

    def __init__(
        self,
        *,
        seed: int = 7,
        clock: Clock | None = None,
        auth_key: str = "demo-key",
        volume: float = 1.0,
        recordings: Path | None = None,
        recorded_hosts: Collection[str] | None = None,
        pace: Mapping[str, float] | None = None,
    ) -> None:
        """Prepare a world; nothing listens yet.

        Args:
            seed: Decides everything that is ever published.
            clock: What the simulated time follows; by default the machine's clock.
            auth_key: The one key that the played APIs accept.
            volume: How many times the usual number of records there is.
            recordings: A folder of recorded bodies that answers instead of the played world.
            recorded_hosts: The hosts that the folder answers for; by default all.
            pace: Requests per second that each host allows; above it the answer is 429.

        Raises:
            ConfigurationError: If the folder of recordings is not there.
        """
        if recordings is not None and not recordings.is_dir():
            raise ConfigurationError(
                f"The folder of recordings {recordings} is not there.", "Name one that is."
            )
        self.clock = SimulatedClock(clock)
        self.faults = Faults()
        self._journal = Journal()
        self._url = ""
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        stage = Stage(seed=seed, clock=self.clock, volume=volume, auth_key=auth_key)
        played = [route for api in APIS for route in api(stage)]
        steering = control.routes(self.clock, self.faults, self._journal)
        self._app = Front(
            Starlette(routes=[*steering, *played, Route("/{rest:path}", _nothing_here)]),
            self._journal,
            self.faults,
            Pace(pace or {}),
            Recordings(recordings) if recordings else None,
            recorded_hosts,
        )

    @property
    def url(self) -> str:
        """The base address, such as `http://127.0.0.1:40123`; empty while it does not run."""
        return self._url

    @property
    def requests(self) -> list[RecordedRequest]:
        """The requests so far in order of arrival, without those to `/_control/`."""
        return self._journal.records()

    def forget_requests(self) -> None:
        """Start counting requests anew."""
        self._journal.clear()

    def most_in_a_window(self, host: str, seconds: float) -> int:
        """Return the largest number of requests to a host within any `seconds` seconds."""
        return self._journal.most_in_a_window(host, seconds)

    def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen, and return the base address once requests are answered.

        Raises:
            ConfigurationError: If the address is not a loopback one, or the port is taken.
            IntelError: If the server does not come up within 10 s, or it runs already.
        """
        if self._thread is not None:
            raise IntelError("The simulator runs already.", f"It is at {self._url}.")
        listener = _listen(host, port)
        self._server = _Server(self._app)
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), name="simulator", daemon=True
        )
        self._thread.start()
        if not self._server.up.wait(_PATIENCE):
            self.stop()
            raise IntelError("The simulator did not come up.", "Try again.")
        shown = f"[{host}]" if ":" in host else host
        self._url = f"http://{shown}:{listener.getsockname()[1]}"
        return self._url

    def stop(self) -> None:
        """Stop listening and cut what is still open; nothing happens if it does not run."""
        if self._server is not None and self._thread is not None:
            self._server.cut()
            self._thread.join(_PATIENCE)
        self._server = self._thread = None
        self._url = ""

    def __enter__(self) -> Self:
        """Start on a free port."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()


def run_forever(
    simulator: Simulator,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    started: Callable[[str], None] = lambda _: None,
) -> None:
    """Run a simulator until SIGINT or SIGTERM; only from the main thread.

    Args:
        simulator: What to run.
        host: A loopback address to listen on.
        port: The port; 0 takes a free one.
        started: Is told the base address once requests are answered.

    Raises:
        ConfigurationError: If the address is not a loopback one, or the port is taken.
    """
    asked = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        asked.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        started(simulator.start(host, port))
        asked.wait()
    finally:
        simulator.stop()
        for number, handler in before.items():
            signal.signal(number, handler)


async def _nothing_here(request: Request) -> Response:
    known = "\n".join(f"/{host}/" for host in HOSTS)
    text = f"404: nothing is played at {request.url.path}. There is:\n{known}\n"
    return PlainTextResponse(text, status_code=404)


def _listen(host: str, port: int) -> socket.socket:
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        raise ConfigurationError(
            f"The simulator does not listen on '{host}'.", "It has no login: use 127.0.0.1."
        )
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise ConfigurationError(
            f"The simulator cannot listen on {host}:{port}: {error.strerror}.",
            "Take another port, or 0 for a free one.",
        ) from error


class _Protocol(H11Protocol):
    """Hands the connection on in the scope, so that faults can cut it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        app = self.app

        async def with_transport(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, TRANSPORT: transport}, receive, send)

        self.app = with_transport


class _Server(uvicorn.Server):
    """A server that says when it is up, and that does not wait for hung clients."""

    def __init__(self, app: Front) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=_Protocol,
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                log_level="error",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=60,
                timeout_graceful_shutdown=1,
            )
        )
        self.up = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        self.up.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)

    def cut(self) -> None:
        self.should_exit = True
