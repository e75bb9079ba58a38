"""Plays what is asked of single indicators: AbuseIPDB's check, GreyNoise and VirusTotal.

What is said of an indicator follows from the seed and the indicator; a third is unknown.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from intel_assets.simulator.reputation import ABUSEIPDB_HOST
from intel_assets.simulator.stage import Stage
from intel_assets.simulator.world import DAY, dice

GREYNOISE_HOST = "api.greynoise.io"
VIRUSTOTAL_HOST = "www.virustotal.com"
HOSTS = (GREYNOISE_HOST, VIRUSTOTAL_HOST)

QUOTAS = {"check": 1000, "greynoise": 50, "virustotal": 500}
"""Requests that a day allows."""

_HASHES = {32: "md5", 40: "sha1", 64: "sha256"}


def routes(stage: Stage) -> list[BaseRoute]:
    """Return what is played for single indicators."""
    play = _Enrichment(stage)
    return [
        Route(f"/{ABUSEIPDB_HOST}/api/v2/check", play.check),
        Route(f"/{GREYNOISE_HOST}/v3/community/{{address}}", play.greynoise),
        Route(f"/{VIRUSTOTAL_HOST}/api/v3/{{place}}/{{name:path}}", play.virustotal),
    ]


class _Enrichment:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._asked: Counter[tuple[str, str]] = Counter()

    def check(self, request: Request) -> Response:
        """Answer what was reported of an address; of an unknown one, that nothing was."""
        if request.headers.get("key") != self._stage.auth_key:
            return _errors(401, "Authentication failed. Your API key is either missing or wrong.")
        text = request.query_params.get("ipAddress", "")
        if not _is_address(text):
            return _errors(422, "The ip address must be a valid IPv4 or IPv6 address.")
        if wait := self._used_up("check"):
            answer = _errors(429, "Daily rate limit of 1000 requests exceeded for this endpoint.")
            answer.headers["Retry-After"] = wait
            return answer
        rng, now = self._dice("check", text), self._stage.clock()
        reports = 0 if self._is_unknown(text) else rng.randint(1, 400)
        last = now - timedelta(seconds=rng.randint(60, 30 * DAY))
        return JSONResponse(
            {
                "data": {
                    "ipAddress": text,
                    "isPublic": True,
                    "ipVersion": ip_address(text).version,
                    "isWhitelisted": rng.choice((False, False, None)),
                    "abuseConfidenceScore": min(100, reports),
                    "countryCode": rng.choice(("BR", "DE", "US", None)),
                    "usageType": rng.choice(("Data Center/Web Hosting/Transit", None)),
                    "isp": "Example Networks",
                    "domain": "example.net",
                    "hostnames": [],
                    "isTor": rng.random() < 0.1,
                    "totalReports": reports,
                    "numDistinctUsers": (reports + 2) // 3,
                    "lastReportedAt": f"{last:%Y-%m-%dT%H:%M:%S}+00:00" if reports else None,
                }
            }
        )

    def greynoise(self, request: Request) -> Response:
        """Answer whether an address scans the internet; 404 if it was never seen."""
        if request.headers.get("key") != self._stage.auth_key:
            return JSONResponse({"message": "invalid API key"}, status_code=401)
        text = str(request.path_params["address"])
        if not _is_address(text) or ":" in text:
            message = "Request is not a valid routable IPv4 address"
            return JSONResponse({"ip": text, "message": message}, status_code=400)
        if wait := self._used_up("greynoise"):
            told = {"plan": "community", "message": "You have hit your daily rate limit."}
            return JSONResponse(told, status_code=429, headers={"Retry-After": wait})
        if self._is_unknown(text):
            message = "IP not observed scanning the internet or contained in RIOT data set."
            unseen = {"ip": text, "noise": False, "riot": False, "message": message}
            return JSONResponse(unseen, status_code=404)
        rng = self._dice("greynoise", text)
        seen = self._stage.clock() - timedelta(days=rng.randint(0, 60))
        kind = rng.choice(("malicious", "benign", "unknown"))
        return JSONResponse(
            {
                "ip": text,
                "noise": True,
                "riot": kind == "benign" and rng.random() < 0.5,
                "classification": kind,
                "name": "unknown" if kind != "benign" else "Example Scanner",
                "link": f"https://viz.greynoise.io/ip/{text}",
                "last_seen": f"{seen:%Y-%m-%d}",
                "message": "Success",
            }
        )

    def virustotal(self, request: Request) -> Response:
        """Answer what scanners say of an object; 404 if it was never given to them."""
        if request.headers.get("x-apikey") != self._stage.auth_key:
            return _error(401, "WrongCredentialsError", "Wrong API key")
        place, name = str(request.path_params["place"]), str(request.path_params["name"])
        known = _object(place, name)
        if known is None:
            return _error(400, "InvalidArgumentError", f'"{name}" is not valid for {place}')
        if wait := self._used_up("virustotal"):
            answer = _error(429, "QuotaExceededError", "Quota exceeded")
            answer.headers["Retry-After"] = wait
            return answer
        kind, identity, more = known
        if self._is_unknown(identity):
            return _error(404, "NotFoundError", f'{kind} "{name}" not found')
        rng, now = self._dice("virustotal", identity), self._stage.clock()
        bad = rng.choice((0, 0, rng.randint(1, 60)))
        attributes: dict[str, object] = more | {
            "last_analysis_date": int(now.timestamp()) - rng.randint(60, 20 * DAY),
            "last_analysis_stats": {
                "malicious": bad,
                "suspicious": rng.randint(0, 3),
                "undetected": 70 - bad,
                "harmless": 0,
                "timeout": 0,
            },
            "reputation": -bad,
            "tags": rng.sample(("peexe", "overlay", "self-delete"), 2) if kind == "file" else [],
        }
        if kind in ("file", "url"):
            first = int(now.timestamp()) - rng.randint(30 * DAY, 90 * DAY)
            attributes["first_submission_date"] = first
        if bad:
            label = {"suggested_threat_label": "trojan.example/agent"}
            attributes["popular_threat_classification"] = label
        data = {"id": identity, "type": kind, "attributes": attributes}
        return JSONResponse({"data": data})

    def _dice(self, play: str, name: str) -> random.Random:
        return dice(self._stage.seed, play, name)

    def _is_unknown(self, name: str) -> bool:
        return self._dice("unknown", name).random() < 1 / 3

    def _used_up(self, play: str) -> str:
        """Count a request; return for how many seconds to wait if it is one too many."""
        now = self._stage.clock()
        day = f"{now:%Y-%m-%d}"
        if self._asked[play, day] < QUOTAS[play]:
            self._asked[play, day] += 1
            return ""
        midnight = datetime(now.year, now.month, now.day, tzinfo=UTC) + timedelta(days=1)
        return str(int((midnight - now).total_seconds()))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _object(place: str, name: str) -> tuple[str, str, dict[str, object]] | None:
    """Return what an object is: its type, its id, and what its attributes say of it."""
    if place == "ip_addresses" and _is_address(name):
        return "ip_address", name, {}
    if place == "domains" and "." in name:
        return "domain", name, {}
    if place == "urls":
        try:
            url = base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
        return "url", hashlib.sha256(url.encode()).hexdigest(), {"url": url}
    if place == "files" and len(name) in _HASHES:
        # Whichever hash of a file is asked for, it is the same file.
        file = dice("file", name)
        digests = {kind: f"{file.getrandbits(4 * size):0{size}x}" for size, kind in _HASHES.items()}
        digests[_HASHES[len(name)]] = name
        return "file", digests["sha256"], dict(digests)
    return None


def _errors(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"errors": [{"detail": detail, "status": status}]}, status_code=status)


def _error(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status)
