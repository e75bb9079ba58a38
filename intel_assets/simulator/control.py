"""The simulator steered and counted over HTTP, so that other processes can: `/_control/`."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from intel_assets.clock import parse_instant
from intel_assets.errors import UsageError
from intel_assets.simulator.faults import Faults
from intel_assets.simulator.journal import Journal
from intel_assets.simulator.timeline import SimulatedClock

PREFIX = "_control"


def routes(clock: SimulatedClock, faults: Faults, journal: Journal) -> list[Route]:
    """Return the control routes over these three."""
    control = _Control(clock, faults, journal)
    return [
        Route(f"/{PREFIX}/clock", _told(control.clock), methods=["GET", "PUT"]),
        Route(f"/{PREFIX}/faults", _told(control.faults), methods=["GET", "POST", "DELETE"]),
        Route(f"/{PREFIX}/requests", _told(control.requests), methods=["GET", "DELETE"]),
    ]


class _Control:
    def __init__(self, clock: SimulatedClock, faults: Faults, journal: Journal) -> None:
        self._clock, self._faults, self._journal = clock, faults, journal

    async def clock(self, request: Request) -> Response:
        if request.method == "PUT":
            wish = await _object(request)
            if unknown := wish.keys() - {"now", "advance_seconds", "speed"}:
                raise UsageError(f"The clock knows no {sorted(unknown)}.")
            if "now" in wish:
                self._clock.set(parse_instant(str(wish["now"])))
            if "advance_seconds" in wish:
                self._clock.advance(float(wish["advance_seconds"]))
            if "speed" in wish:
                self._clock.run(float(wish["speed"]))
        return JSONResponse({"now": self._clock().isoformat(), "speed": self._clock.speed})

    async def faults(self, request: Request) -> Response:
        if request.method == "POST":
            wish = await _object(request)
            number = self._faults.add(str(wish.pop("kind", "")), **wish)
            return JSONResponse({"id": number}, status_code=201)
        if request.method == "DELETE":
            if "id" in request.query_params:
                self._faults.remove(int(request.query_params["id"]))
            else:
                self._faults.clear()
        return JSONResponse({"faults": self._faults.as_json()})

    async def requests(self, request: Request) -> Response:
        if request.method == "DELETE":
            self._journal.clear()
        host = request.query_params.get("host", "")
        told: dict[str, Any] = {"requests": [r.as_json() for r in self._journal.records(host)]}
        if "seconds" in request.query_params:
            seconds = float(request.query_params["seconds"])
            told["most_in_a_window"] = self._journal.most_in_a_window(host, seconds)
        return JSONResponse(told)


async def _object(request: Request) -> dict[str, Any]:
    wish = json.loads(await request.body())
    if not isinstance(wish, dict):
        raise UsageError("The body is no JSON object.")
    return wish


_Endpoint = Callable[[Request], Awaitable[Response]]


def _told(endpoint: _Endpoint) -> _Endpoint:
    """Turn a wish that makes no sense into a 400 that says so."""

    async def told(request: Request) -> Response:
        try:
            return await endpoint(request)
        except (UsageError, ValueError, TypeError, OverflowError) as error:
            return JSONResponse({"error": str(error)}, status_code=400)

    return told
