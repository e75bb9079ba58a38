"""What every request to the simulator passes first: record, upstream's limit, fault, recording."""

from __future__ import annotations

import math
import time
from collections import defaultdict, deque
from collections.abc import Collection, Mapping

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from intel_assets.simulator import control
from intel_assets.simulator.faults import Faults, play, retry_after
from intel_assets.simulator.journal import Journal, RecordedRequest, redact
from intel_assets.simulator.recordings import Recordings


class Front:
    """The ASGI application around the played routes; control requests pass untouched."""

    def __init__(
        self,
        played: ASGIApp,
        journal: Journal,
        faults: Faults,
        pace: Pace,
        recordings: Recordings | None,
        recorded_hosts: Collection[str] | None,
    ) -> None:
        """Stand before `played`; of the recorded hosts (None: all) only the folder answers."""
        self._played, self._journal, self._faults = played, journal, faults
        self._pace, self._recordings, self._hosts = pace, recordings, recorded_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        host, _, path = scope["path"].lstrip("/").partition("/")
        if host == control.PREFIX:
            await self._played(scope, receive, send)
            return
        record = _record(scope, host, path)
        self._journal.add(record)

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
            await send(message)

        if wait := self._pace.wait(host):
            refusal = PlainTextResponse(
                "429: Too Many Requests", 429, {"Retry-After": retry_after(math.ceil(wait))}
            )
            await refusal(scope, receive, noted)
        elif rule := self._faults.take(host, record.path):
            record.fault = rule.kind.value
            await play(rule, self._answer, scope, receive, noted)
        else:
            await self._answer(scope, receive, noted)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        host, _, path = scope["path"].lstrip("/").partition("/")
        if self._recordings and (self._hosts is None or host in self._hosts):
            response = self._recordings.answer(Request(scope), host, path)
            await response(scope, receive, send)
        else:
            await self._played(scope, receive, send)


class Pace:
    """How many requests a second each host allows; used from the server's loop only."""

    def __init__(self, allowed: Mapping[str, float]) -> None:
        """Take the requests per second by host; hosts that are not named have no limit."""
        self._allowed = allowed
        self._answered: defaultdict[str, deque[float]] = defaultdict(deque)

    def wait(self, host: str) -> float:
        """Return how many seconds too early a request is; 0 counts it as allowed."""
        rate = self._allowed.get(host)
        if rate is None:
            return 0.0
        most, window = (int(rate), 1.0) if rate >= 1 else (1, 1 / rate)
        answered, now = self._answered[host], time.monotonic()
        while answered and answered[0] <= now - window:
            answered.popleft()
        if len(answered) >= most:
            return answered[0] + window - now
        answered.append(now)
        return 0.0


def _record(scope: Scope, host: str, path: str) -> RecordedRequest:
    asked = Request(scope)
    return RecordedRequest(
        host=host,
        path=f"/{path}",
        query=redact(scope["query_string"].decode("latin-1")),
        method=scope["method"],
        conditional=bool({"if-none-match", "if-modified-since"} & {*asked.headers}),
    )
