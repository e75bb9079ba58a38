"""How the simulator misbehaves when told to: rules, and one function for each kind of fault.

A fault is played on the wire of one request; what the world holds is never changed by it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from enum import StrEnum
from random import Random
from typing import Any

import pydantic.dataclasses
from pydantic import ConfigDict, TypeAdapter, ValidationError
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from intel_assets.errors import UsageError
from intel_assets.simulator.stage import gzipped

TRANSPORT = "simulator.transport"
"""Key of the connection's transport in the ASGI scope, so that faults can cut it."""

_HEAD = 64 * 1024
_LINE = b'"0","1970-01-01 00:00:00","http://198.18.0.1/more","offline","","malware_download"\n'


class Fault(StrEnum):
    """The kinds of fault."""

    TOO_MANY_REQUESTS = "429"
    SERVER_ERROR = "500"
    UNAVAILABLE = "503"
    GATEWAY_TIMEOUT = "504"
    UNAUTHORIZED = "unauthorized"
    TIMEOUT = "timeout"
    SLOW = "slow"
    TRUNCATED = "truncated"
    TRUNCATED_GZIP = "truncated_gzip"
    WRONG_CONTENT_TYPE = "wrong_content_type"
    GARBAGE = "garbage"
    GARBLED_ROW = "garbled_row"
    EMPTY = "empty"
    ENDLESS = "endless"
    DISCONNECT = "disconnect"


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class FaultRule:
    """Which requests get which fault.

    Attributes:
        kind: The fault.
        host: A part of the host's name; empty means every host.
        path: A part of the path; empty means every path.
        times: How many requests get it; None means all from now on.
        after: How many matching requests are answered well first.
        retry_after: Seconds to ask for in Retry-After (429 and 503); None leaves it out.
        as_date: Whether Retry-After is an HTTP date (by the machine's clock).
        seconds: The pause before each piece of a `slow` or `endless` body.
        chunked: Whether a `truncated` body is sent without a Content-Length.
        size: Bytes of `garbage`, or of each piece of a `slow` body.
        seed: Decides the bytes of `garbage`.
    """

    kind: Fault
    host: str = ""
    path: str = ""
    times: int | None = 1
    after: int = 0
    retry_after: float | None = 1
    as_date: bool = False
    seconds: float = 0.1
    chunked: bool = False
    size: int = 4096
    seed: int = 7

    def matches(self, host: str, path: str) -> bool:
        """Whether a request is one of those meant."""
        return self.host in host and self.path in path


_RULE = TypeAdapter(FaultRule)


class Faults:
    """The rules in force, in the order they were added; safe to change from any thread."""

    def __init__(self) -> None:
        """Start with none: everything is answered well."""
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._rules: dict[int, FaultRule] = {}
        self._seen: dict[int, int] = {}

    def add(self, kind: str, **options: object) -> int:
        """Put a rule in force and return its number; options as in `FaultRule`.

        Raises:
            UsageError: If there is no such kind or option, or an option makes no sense.
        """
        try:
            rule = _RULE.validate_python({**options, "kind": kind})
        except ValidationError as error:
            known = ", ".join(option.name for option in fields(FaultRule))
            raise UsageError(
                f"There is no fault '{kind}' with {options}: {error.errors()[0]['msg']}.",
                f"Kinds: {', '.join(Fault)}. Options: {known}.",
            ) from error
        with self._lock:
            number = next(self._numbers)
            self._rules[number], self._seen[number] = rule, 0
            return number

    def remove(self, number: int) -> None:
        """Take a rule back; nothing happens if it is not in force."""
        with self._lock:
            self._rules.pop(number, None)

    def clear(self) -> None:
        """Take all rules back."""
        with self._lock:
            self._rules.clear()

    def as_json(self) -> list[dict[str, Any]]:
        """Return the rules in force with their number and how many requests each matched."""
        with self._lock:
            return [
                {"id": number, "seen": self._seen[number], **asdict(rule)}
                for number, rule in self._rules.items()
            ]

    def take(self, host: str, path: str) -> FaultRule | None:
        """Return the rule for this request and count it; None if it is to be answered well."""
        with self._lock:
            for number, rule in list(self._rules.items()):
                if not rule.matches(host, path):
                    continue
                self._seen[number] += 1
                if self._seen[number] <= rule.after:
                    continue
                if rule.times is not None and self._seen[number] >= rule.after + rule.times:
                    del self._rules[number]
                return rule
        return None


async def play(rule: FaultRule, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request with a fault; `app` gives the good answer for those that spoil one."""
    await _PLAYERS[rule.kind](_Act(rule, app, scope, receive, send))


@dataclass(frozen=True)
class _Act:
    rule: FaultRule
    app: ASGIApp
    scope: Scope
    receive: Receive
    send: Send

    async def answer(self, response: Response) -> None:
        await response(self.scope, self.receive, self.send)

    async def cut(self) -> None:
        """Close the connection after what was written, and wait until it is gone."""
        self.scope[TRANSPORT].close()
        await self.hang()

    async def hang(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def start(self, headers: list[tuple[bytes, bytes]], status: int = 200) -> None:
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def body(self, chunk: bytes, *, more: bool = True) -> None:
        await self.send({"type": "http.response.body", "body": chunk, "more_body": more})

    async def spoil(self, start: _Spoiler, chunk: _Spoiler) -> None:
        """Get the whole good answer, unpacked, through two functions that may change it."""
        # A 304 or a packed body could not be spoiled as asked.
        unwanted = (b"if-none-match", b"if-modified-since", b"accept-encoding")
        headers = [pair for pair in self.scope["headers"] if pair[0] not in unwanted]

        async def spoiled(message: Message) -> None:
            await (start if message["type"] == "http.response.start" else chunk)(message)

        await self.app({**self.scope, "headers": headers}, self.receive, spoiled)

    async def good_head(self) -> tuple[Message, bytes]:
        """Return the good answer's start and its first bytes, at most 64 KiB."""
        begun: list[Message] = []
        head = bytearray()

        async def start(message: Message) -> None:
            begun.append(message)

        async def chunk(message: Message) -> None:
            head.extend(message.get("body", b""))
            if len(head) >= _HEAD:
                raise _EnoughError

        with contextlib.suppress(_EnoughError):
            await self.spoil(start, chunk)
        return begun[0], bytes(head[:_HEAD])


class _EnoughError(Exception):
    """Stops a good answer of which only the beginning is wanted."""


_Spoiler = Callable[[Message], Awaitable[None]]
_Player = Callable[[_Act], Awaitable[None]]


async def _refuse(act: _Act) -> None:
    rule, headers = act.rule, {}
    asks_to_wait = rule.kind in (Fault.TOO_MANY_REQUESTS, Fault.UNAVAILABLE)
    if rule.retry_after is not None and asks_to_wait:
        headers["Retry-After"] = retry_after(rule.retry_after, as_date=rule.as_date)
    text = f"{rule.kind}: the simulator was told to refuse"
    await act.answer(PlainTextResponse(text, int(rule.kind), headers))


async def _unauthorized(act: _Act) -> None:
    await act.answer(JSONResponse({"query_status": "unknown_auth_key"}, status_code=401))


async def _timeout(act: _Act) -> None:
    await act.hang()


async def _disconnect(act: _Act) -> None:
    await act.cut()


async def _slow(act: _Act) -> None:
    async def chunk(message: Message) -> None:
        data, size = message.get("body", b""), act.rule.size
        for at in range(0, len(data), size):
            await asyncio.sleep(act.rule.seconds)
            await act.body(data[at : at + size])
        if not message.get("more_body", False):
            await act.body(b"", more=False)

    await act.spoil(act.send, chunk)


async def _truncated(act: _Act) -> None:
    start, head = await act.good_head()
    kept = head[: max(1, len(head) * 2 // 3)]
    headers = _without(start, b"content-length")
    if not act.rule.chunked:
        headers.append((b"content-length", str(len(head) + 1).encode()))
    await act.start(headers, start["status"])
    await act.body(kept)
    await act.cut()


async def _truncated_gzip(act: _Act) -> None:
    start, head = await act.good_head()
    packed = b"".join(gzipped([head]))
    headers = _without(start, b"content-length")
    kept = packed[: len(packed) * 2 // 3]
    headers += [
        (b"content-encoding", b"gzip"),
        (b"content-length", str(len(kept)).encode()),
    ]
    await act.start(headers, start["status"])
    await act.body(kept, more=False)


async def _garbled_row(act: _Act) -> None:
    done = False

    async def start(message: Message) -> None:
        await act.start(_without(message, b"content-length", b"etag"), message["status"])

    async def chunk(message: Message) -> None:
        nonlocal done
        data, more = message.get("body", b""), message.get("more_body", False)
        if data and not done:
            data, done = garble(data), True
        await act.body(data, more=more)

    await act.spoil(start, chunk)


async def _wrong_content_type(act: _Act) -> None:
    page = "<!DOCTYPE html>\n<html><head><title>Maintenance</title></head><body>Back soon.</body>"
    await act.answer(HTMLResponse(page + "</html>\n"))


async def _garbage(act: _Act) -> None:
    rng = Random(act.rule.seed)  # noqa: S311  the same garbage every time
    await act.answer(Response(rng.randbytes(act.rule.size), media_type="text/csv"))


async def _empty(act: _Act) -> None:
    await act.answer(Response(b"", media_type="text/csv"))


async def _endless(act: _Act) -> None:
    gone = asyncio.create_task(act.hang())
    piece = _LINE * (_HEAD // len(_LINE))
    await act.start([(b"content-type", b"text/csv; charset=utf-8")])
    while not gone.done():
        await act.body(piece)
        await asyncio.sleep(act.rule.seconds)


_PLAYERS: Mapping[Fault, _Player] = {
    Fault.TOO_MANY_REQUESTS: _refuse,
    Fault.SERVER_ERROR: _refuse,
    Fault.UNAVAILABLE: _refuse,
    Fault.GATEWAY_TIMEOUT: _refuse,
    Fault.UNAUTHORIZED: _unauthorized,
    Fault.TIMEOUT: _timeout,
    Fault.SLOW: _slow,
    Fault.TRUNCATED: _truncated,
    Fault.TRUNCATED_GZIP: _truncated_gzip,
    Fault.WRONG_CONTENT_TYPE: _wrong_content_type,
    Fault.GARBAGE: _garbage,
    Fault.GARBLED_ROW: _garbled_row,
    Fault.EMPTY: _empty,
    Fault.ENDLESS: _endless,
    Fault.DISCONNECT: _disconnect,
}


def retry_after(seconds: float, *, as_date: bool = False) -> str:
    """Write Retry-After: whole seconds, or the HTTP date they lead to by the machine's clock."""
    if not as_date:
        return str(max(0, round(seconds)))
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


def garble(data: bytes) -> bytes:
    """Break the middle data line: half of it is lost, with its quotes and columns."""
    lines = data.splitlines(keepends=True)
    rows = [i for i, line in enumerate(lines) if line.strip() and not line.startswith(b"#")]
    if not rows:
        return data
    at = rows[len(rows) // 2]
    line = lines[at].rstrip(b"\r\n")
    lines[at] = line[: len(line) // 2] + lines[at][len(line) :]
    return b"".join(lines)


def _without(start: Message, *names: bytes) -> list[tuple[bytes, bytes]]:
    return [pair for pair in start.get("headers", []) if pair[0].lower() not in names]
