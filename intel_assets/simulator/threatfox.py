"""Plays ThreatFox: the API's `get_iocs` of up to seven days, and the CSV export of two.

Hosts and addresses are reserved ones; every third server is a victim's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from intel_assets.simulator.events import Event, happened
from intel_assets.simulator.stage import Stage
from intel_assets.simulator.world import domain, ip

API_HOST = "threatfox-api.abuse.ch"
SITE_HOST = "threatfox.abuse.ch"
HOSTS = (API_HOST, SITE_HOST)

_PER_DAY = 40
_MOST_DAYS = 7
_DEFAULT_DAYS = 3
_EXPORT = timedelta(hours=48)
_FAMILIES = (
    ("win.cobalt_strike", "Cobalt Strike", "Agentemis,BEACON,CobaltStrike,cobeacon"),
    ("win.asyncrat", "AsyncRAT", None),
    ("win.vidar", "Vidar", None),
    ("js.clearfake", "ClearFake", None),
    ("elf.mirai", "Mirai", "Katana"),
)
_COLUMNS = (
    "first_seen_utc",
    "ioc_id",
    "ioc_value",
    "ioc_type",
    "threat_type",
    "fk_malware",
    "malware_alias",
    "malware_printable",
    "last_seen_utc",
    "confidence_level",
    "is_compromised",
    "reference",
    "tags",
    "anonymous",
    "reporter",
)


def routes(stage: Stage) -> list[BaseRoute]:
    """Return what is played for the two hosts of ThreatFox."""
    play = _Threatfox(stage)
    return [
        Route(f"/{API_HOST}/api/v1/", play.api, methods=["POST"]),
        Route(f"/{SITE_HOST}/export/csv/recent/", play.export),
    ]


class _Threatfox:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def api(self, request: Request) -> Response:
        """Answer `get_iocs`."""
        if request.headers.get("auth-key") != self._stage.auth_key:
            return JSONResponse({"error": "Unauthorized"}, status_code=401)
        try:
            asked = await request.json()
        except ValueError:
            return JSONResponse({"query_status": "invalid_json"})
        if not isinstance(asked, Mapping) or asked.get("query") != "get_iocs":
            return JSONResponse({"query_status": "unknown_operation"})
        days = asked.get("days", _DEFAULT_DAYS)
        if not isinstance(days, int) or not 1 <= days <= _MOST_DAYS:
            return JSONResponse({"query_status": "illegal_days"})
        found = [_entry(one) for one in self._told(timedelta(days=days))]
        return JSONResponse({"query_status": "ok" if found else "no_result", "data": found})

    def export(self, request: Request) -> Response:
        """Answer the CSV export: CRLF, and a space behind each comma."""
        lines = list(_csv(self._told(_EXPORT), self._stage.clock()))
        return PlainTextResponse("\r\n".join(lines) + "\r\n", media_type="text/csv")

    def _told(self, back: timedelta) -> Iterator[Event]:
        now = self._stage.clock()
        return happened(
            self._stage.seed, "threatfox", now - back, now, _PER_DAY * self._stage.volume
        )


def _entry(event: Event) -> dict[str, Any]:
    rng = event.rng
    malware, name, alias = rng.choice(_FAMILIES)
    kind, value = rng.choice(
        [
            ("ip:port", f"{ip(rng)}:{rng.randint(1, 65_535)}"),
            ("ip:port", f"2001:db8::{rng.randint(1, 0xFFFF):x}:{rng.randint(1, 65_535)}"),
            ("domain", domain(rng)),
            ("url", f"http://{domain(rng)}/{rng.randint(1, 999)}/gate.php"),
            # What its label says is not always so: the length tells.
            ("sha256_hash", f"{rng.getrandbits(256):064x}"),
            ("sha256_hash", f"{rng.getrandbits(160):040x}"),
            ("md5_hash", f"{rng.getrandbits(128):032x}"),
        ]
    )
    seen = event.at + timedelta(hours=rng.randint(1, 72))
    alive = seen - event.at < event.age
    return {
        "id": str(event.number),
        "ioc": value,
        "threat_type": "payload" if kind.endswith("_hash") else "botnet_cc",
        "threat_type_desc": "Indicator that is played",
        "ioc_type": kind,
        "ioc_type_desc": f"{kind} that is played",
        "malware": malware,
        "malware_printable": name,
        "malware_alias": alias,
        "malware_malpedia": f"https://malpedia.caad.fkie.fraunhofer.de/details/{malware}",
        "confidence_level": rng.choice((50, 75, 100)),
        "first_seen": f"{event.at:%Y-%m-%d %H:%M:%S} UTC",
        "last_seen": f"{seen:%Y-%m-%d %H:%M:%S} UTC" if alive else None,
        "is_compromised": rng.random() < 1 / 3,
        "reference": None,
        "reporter": rng.choice(("night_heron", "k3stral", "anonymous")),
        "tags": [name.replace(" ", ""), "played"] if rng.random() < 0.8 else None,
    }


def _csv(events: Iterator[Event], now: datetime) -> Iterator[str]:
    yield "#" * 64
    yield f"# Last updated: {now:%Y-%m-%d %H:%M:%S} UTC                        #"
    yield "# " + ",".join(f'"{name}"' for name in _COLUMNS)
    told = [_entry(event) for event in events]
    for found in told:
        values = (
            found["first_seen"].removesuffix(" UTC"),
            found["id"],
            found["ioc"],
            found["ioc_type"],
            found["threat_type"],
            found["malware"],
            found["malware_alias"] or "None",
            found["malware_printable"],
            (found["last_seen"] or "").removesuffix(" UTC"),
            str(found["confidence_level"]),
            str(found["is_compromised"]),
            "None",
            ",".join(found["tags"] or ["None"]),
            "0",
            found["reporter"],
        )
        yield ", ".join('"' + value.replace('"', '""') + '"' for value in values)
    yield f"# Number of entries: {len(told)}"
