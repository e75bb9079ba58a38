"""Plays lists of bad machines: Feodo Tracker, SSLBL, and AbuseIPDB with its key and quota."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from intel_assets.simulator.events import happened
from intel_assets.simulator.plain_lists_world import Listed, PlainListWorld, PlayedList
from intel_assets.simulator.stage import Stage, floor_to, respond
from intel_assets.simulator.world import DAY, HOUR, dice

FEODO_HOST = "feodotracker.abuse.ch"
SSLBL_HOST = "sslbl.abuse.ch"
ABUSEIPDB_HOST = "api.abuseipdb.com"
HOSTS = (FEODO_HOST, SSLBL_HOST, ABUSEIPDB_HOST)

QUOTA = 5
"""Requests for AbuseIPDB's list that a day allows."""

_FEODO = PlayedList("feodo", "", 60, HOUR)
_ABUSEIPDB = PlayedList("abuseipdb", "", 900, HOUR)
_BOTNETS = ("Dridex", "Emotet", "Pikabot", "QakBot")
_FAMILIES = ("AsyncRAT", "CobaltStrike", "DCRat", "Rhadamanthys", "Vidar")
_CERTIFICATES_A_DAY = 3
_LISTED_FOR = timedelta(days=60)
_LEAST = 25
_MOST = 10_000


def routes(stage: Stage) -> list[BaseRoute]:
    """Return what is played for the three hosts."""
    play = _Reputation(stage)
    downloads = f"/{FEODO_HOST}/downloads"
    return [
        Route(f"{downloads}/ipblocklist.json", play.feodo),
        Route(f"{downloads}/ipblocklist.csv", play.feodo_csv),
        Route(f"/{SSLBL_HOST}/blacklist/sslblacklist.csv", play.sslbl),
        Route(f"/{ABUSEIPDB_HOST}/api/v2/blacklist", play.abuseipdb),
    ]


class _Reputation:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._feodo = PlainListWorld(_FEODO, stage.seed, stage.volume)
        self._abuseipdb = PlainListWorld(_ABUSEIPDB, stage.seed, stage.volume)
        self._asked: Counter[str] = Counter()

    def feodo(self, request: Request) -> Response:
        """Answer Feodo Tracker's list as JSON."""
        made = self._feodo.made(self._stage.clock())
        return respond(
            request,
            lambda: [json.dumps(self._servers(made), indent=1).encode()],
            media_type="application/json",
            etag=self._stage.etag("feodo", made),
            modified=made,
        )

    def feodo_csv(self, request: Request) -> Response:
        """Answer the list as CSV; `?generation=2019` and `2020` give the older shapes."""
        generation = request.query_params.get("generation", "")
        made = self._feodo.made(self._stage.clock())
        return PlainTextResponse(_feodo_csv(self._servers(made), made, generation))

    def sslbl(self, request: Request) -> Response:
        """Answer SSLBL's list."""
        now = self._stage.clock()
        made = floor_to(now, HOUR)
        told = happened(self._stage.seed, "sslbl", made - _LISTED_FOR, made, _CERTIFICATES_A_DAY)
        lines = [
            "#" * 64,
            "# abuse.ch SSLBL SSL Certificate Blacklist (SHA1 Fingerprints) #",
            f"# Last updated: {made:%Y-%m-%d %H:%M:%S} UTC                        #",
            "#" * 64,
            "#",
            "# Listingdate,SHA1,Listingreason",
            *(
                f"{one.at:%Y-%m-%d %H:%M:%S},{one.rng.getrandbits(160):040x},"
                f"{one.rng.choice(_FAMILIES)} C&C"
                for one in told
            ),
        ]
        text = "\r\n".join(lines) + "\r\n"
        return respond(
            request,
            lambda: [text.encode()],
            media_type="text/csv",
            etag=self._stage.etag("sslbl", text),
        )

    def abuseipdb(self, request: Request) -> Response:
        """Answer AbuseIPDB's list, five times a day."""
        if request.headers.get("key") != self._stage.auth_key:
            return _problem(401, "Authentication failed. Your API key is either missing or wrong.")
        now = self._stage.clock()
        day = f"{now:%Y-%m-%d}"
        if self._asked[day] >= QUOTA:
            midnight = datetime(now.year, now.month, now.day, tzinfo=UTC) + timedelta(days=1)
            wait = str(int((midnight - now).total_seconds()))
            answer = _problem(429, "Daily rate limit of 5 requests exceeded for this endpoint.")
            answer.headers.update({"Retry-After": wait, "X-RateLimit-Remaining": "0"})
            return answer
        least = int(request.query_params.get("confidenceMinimum", "100"))
        if not _LEAST <= least <= 100:
            return _problem(422, "The confidence minimum must be between 25 and 100.")
        self._asked[day] += 1
        most = min(int(request.query_params.get("limit", _MOST)), _MOST)
        made = self._abuseipdb.made(now)
        listed = self._abuseipdb.entries(made)[:most]
        body = {
            "meta": {"generatedAt": f"{made:%Y-%m-%dT%H:%M:%S}+00:00"},
            "data": [_reported(one, made) for one in listed],
        }
        left = {"X-RateLimit-Limit": str(QUOTA)}
        left["X-RateLimit-Remaining"] = str(QUOTA - self._asked[day])
        return JSONResponse(body, headers=left)

    def _servers(self, made: datetime) -> Sequence[dict[str, object]]:
        return [_server(one, made) for one in self._feodo.entries(made)]


def _server(one: Listed, made: datetime) -> dict[str, object]:
    rng = dice("feodo", one.address)
    seen = made - timedelta(seconds=rng.randint(DAY, 400 * DAY))
    found: dict[str, object] = {
        "ip_address": one.address,
        "port": rng.choice((443, 995, 2222, 8080)),
        "status": rng.choice(("online", "offline")),
        "hostname": rng.choice((None, f"host{rng.randint(1, 99)}.example.net")),
        "as_number": rng.randint(64_496, 64_511),
        "as_name": "EXAMPLE-AS",
        "country": rng.choice(("DE", "FR", "KR", "US")),
        "first_seen": f"{seen:%Y-%m-%d} 07:44:46",
        "last_online": f"{made - timedelta(days=rng.randint(0, 9)):%Y-%m-%d}",
        "malware": rng.choice(_BOTNETS),
    }
    if rng.random() < 0.1:
        del found["first_seen"]
    return found


def _feodo_csv(servers: Sequence[dict[str, object]], made: datetime, generation: str) -> str:
    names = {
        "2019": ("first_seen", "ip_address", "port", "malware"),
        "2020": ("first_seen", "ip_address", "port", "last_online", "malware"),
    }.get(generation, ("first_seen", "ip_address", "port", "status", "last_online", "malware"))
    header = {
        "2019": "# Firstseen,DstIP,DstPort,Malware",
        "2020": "Firstseen,DstIP,DstPort,LastOnline,Malware",
    }.get(generation, '"first_seen_utc","dst_ip","dst_port","c2_status","last_online","malware"')
    quote = "" if generation else '"'
    lines = ["#" * 64, f"# Last updated: {made:%Y-%m-%d %H:%M:%S} UTC", "#", header]
    for one in servers:
        lines.append(",".join(f"{quote}{one.get(name) or ''}{quote}" for name in names))
    lines += [f"# END {len(servers)} entries"]
    return "\r\n".join(lines) + "\r\n"


def _reported(one: Listed, made: datetime) -> dict[str, object]:
    rng = dice("abuseipdb", one.address)
    address = one.address
    if rng.random() < 0.05:
        address = f"2001:db8::{rng.randint(1, 0xFFFF):x}"
    at = made - timedelta(seconds=rng.randint(60, 20 * HOUR))
    return {
        "ipAddress": address,
        "countryCode": rng.choice(("BR", "CN", "DE", "US", None)),
        "abuseConfidenceScore": 100,
        "lastReportedAt": f"{at:%Y-%m-%dT%H:%M:%S}+00:00",
    }


def _problem(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"errors": [{"detail": detail, "status": status}]}, status_code=status)
