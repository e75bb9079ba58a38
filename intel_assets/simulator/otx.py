"""Plays AlienVault OTX: pulses in pages, the newest modified first, some modified again.

A pulse may lose an indicator when it is modified, and one in ten is so long that its list is cut
off. Times have no zone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from intel_assets.simulator.events import Event, happened
from intel_assets.simulator.stage import Stage
from intel_assets.simulator.world import HOUR, chance, dice, domain, ip

HOST = "otx.alienvault.com"
HOSTS = (HOST,)

PULSES_A_DAY = 2
MEMORY = timedelta(days=45)
INLINE = 30
"""Indicators of a pulse that a page of pulses gives; the rest has to be asked for."""

_MODIFIED = 0.6
_LONG = 0.1
_MOST = 50
_FAMILIES = ("AgentTesla", "AsyncRAT", "Cobalt Strike", "Formbook", "Mirai")
_TECHNIQUES = ("T1059", "T1059.001", "T1071", "T1105", "T1566.002")
_GROUPS = ("APT-HERON", "", "", "")


@dataclass(frozen=True)
class _Pulse:
    event: Event
    modified: datetime
    revision: int

    @property
    def key(self) -> str:
        return f"{self.event.number:024x}"


def routes(stage: Stage) -> list[BaseRoute]:
    """Return what is played for OTX."""
    play = _Otx(stage)
    root = f"/{HOST}/api/v1/pulses"
    return [
        Route(f"{root}/subscribed", play.subscribed),
        Route(f"{root}/{{pulse}}/indicators", play.indicators),
    ]


class _Otx:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def subscribed(self, request: Request) -> Response:
        """Answer a page of the pulses that were modified since a moment."""
        if refused := self._refused(request):
            return refused
        since = _moment(request.query_params.get("modified_since", "2000-01-01T00:00:00"))
        found = [one for one in self._pulses() if one.modified >= since]
        found.sort(key=lambda one: one.modified, reverse=True)
        shown, facts = _paged(request, found, "pulses/subscribed")
        return JSONResponse({"results": [_told(one) for one in shown], **facts})

    def indicators(self, request: Request) -> Response:
        """Answer a page of a pulse's indicators."""
        if refused := self._refused(request):
            return refused
        key = request.path_params["pulse"]
        pulse = next((one for one in self._pulses() if one.key == key), None)
        if pulse is None:
            return JSONResponse({"detail": "Not found."}, status_code=404)
        shown, facts = _paged(request, _indicators(pulse), f"pulses/{key}/indicators")
        return JSONResponse({"results": shown, **facts})

    def _pulses(self) -> Iterator[_Pulse]:
        now, stage = self._stage.clock(), self._stage
        for one in happened(stage.seed, "otx", now - MEMORY, now, PULSES_A_DAY):
            own = dice(stage.seed, "otx", "life", one.number)
            later = timedelta(seconds=own.randint(3 * HOUR, 72 * HOUR))
            again = chance(own, _MODIFIED) and one.age > later
            yield _Pulse(one, one.at + later if again else one.at, 2 if again else 1)

    def _refused(self, request: Request) -> Response | None:
        if request.headers.get("x-otx-api-key") == self._stage.auth_key:
            return None
        return JSONResponse({"detail": "Authentication required"}, status_code=403)


def _paged(request: Request, found: list[Any], path: str) -> tuple[list[Any], dict[str, object]]:
    limit = min(int(request.query_params.get("limit", "10")), _MOST if "sub" in path else 1000)
    page = int(request.query_params.get("page", "1"))
    first = (page - 1) * limit
    more = first + limit < len(found)
    rest = "".join(
        f"&{name}={value}"
        for name, value in request.query_params.items()
        if name not in ("page", "limit")
    )
    base = f"https://{HOST}/api/v1/{path}?limit={limit}{rest}"
    return found[first : first + limit], {
        "count": len(found),
        "next": f"{base}&page={page + 1}" if more else None,
        "previous": f"{base}&page={page - 1}" if page > 1 else None,
    }


def _told(pulse: _Pulse) -> dict[str, Any]:
    rng = dice("otx", "pulse", pulse.event.number)
    family = rng.choice(_FAMILIES)
    listed = _indicators(pulse)
    return {
        "id": pulse.key,
        "name": f"{family} in the wild {pulse.event.number}",
        "description": "A pulse that is played.",
        "author_name": rng.choice(("night_heron", "k3stral")),
        "public": 1,
        "revision": pulse.revision,
        "adversary": rng.choice(_GROUPS),
        "malware_families": rng.choice(([family], [{"display_name": family}], [])),
        "industries": [],
        "attack_ids": rng.sample(_TECHNIQUES, rng.randint(0, 3)),
        "tlp": rng.choice(("white", "white", "green", "green", "amber", "red")),
        "tags": [family.lower(), "played"],
        "created": f"{pulse.event.at:%Y-%m-%dT%H:%M:%S}.093000",
        "modified": f"{pulse.modified:%Y-%m-%dT%H:%M:%S}",
        "references": ["https://example.org/report"],
        "targeted_countries": [],
        "more_indicators": len(listed) > INLINE,
        "indicators": listed[:INLINE],
    }


def _indicators(pulse: _Pulse) -> list[dict[str, Any]]:
    rng = dice("otx", "indicators", pulse.event.number)
    count = rng.randint(40, 60) if chance(rng, _LONG) else rng.randint(3, 12)
    found = []
    for place in range(count):
        kind, value = rng.choice(
            [
                ("IPv4", ip(rng)),
                ("domain", domain(rng)),
                ("hostname", f"www.{domain(rng)}"),
                ("URL", f"http://{domain(rng)}/load.php"),
                ("FileHash-SHA256", f"{rng.getrandbits(256):064x}"),
                ("FileHash-MD5", f"{rng.getrandbits(128):032x}"),
                ("CVE", f"CVE-2025-{rng.randint(1000, 9999)}"),
                ("email", f"ann@{domain(rng)}"),
            ]
        )
        found.append(
            {
                "id": pulse.event.number * 100 + place,
                "indicator": value,
                "type": kind,
                "title": "",
                "description": "",
                "content": "",
                "created": f"{pulse.event.at:%Y-%m-%dT%H:%M:%S}",
                "is_active": 1,
                "expiration": None,
                "role": None,
            }
        )
    if pulse.event.number % 7 == 0:
        private = {"indicator": "192.168.113.98", "type": "IPv4"}
        found[0] |= private | {"expiration": "2030-01-01T00:00:00"}
    return found[1:] if pulse.revision > 1 else found


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
