"""Plays CISA's catalogue of exploited vulnerabilities: one body, changed in place.

A handful is added each week, some later get to know of ransomware, and one in fifty is removed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from intel_assets.simulator.stage import Stage, respond
from intel_assets.simulator.world import DAY, WEEKEND, WORDS, chance, dice

HOST = "www.cisa.gov"
HOSTS = (HOST,)

_FIRST = datetime(2025, 1, 6, 15, tzinfo=UTC)
_PATH = f"/{HOST}/sites/default/files/feeds/known_exploited_vulnerabilities.json"
_LEARNT = 0.2
_REMOVED = 0.02
_BUSY = 0.35


def routes(stage: Stage) -> list[BaseRoute]:
    """Return what is played for the catalogue."""

    def serve(request: Request) -> Response:
        released, found = catalogue(stage.seed, stage.clock())
        return respond(
            request,
            lambda: [json.dumps(_body(released, found), indent=2).encode()],
            media_type="application/json",
            etag=stage.etag("kev", json.dumps(found)),
            modified=released,
        )

    return [Route(_PATH, serve)]


def catalogue(seed: int, now: datetime) -> tuple[datetime, list[dict[str, Any]]]:
    """Return when the catalogue of a moment was released, and what it holds, the newest first."""
    found: list[dict[str, Any]] = []
    released = _FIRST
    day = _FIRST
    while day <= now:
        rng = dice(seed, "kev", day.date())
        if day.weekday() not in WEEKEND and chance(rng, _BUSY):
            released = day
            for number in range(rng.randint(1, 3)):
                found += _entry(dice(seed, "kev", day.date(), number), day, now)
        day += timedelta(days=1)
    return released, found[::-1]


def _entry(rng: Random, added: datetime, now: datetime) -> Iterator[dict[str, Any]]:
    age = (now - added).total_seconds()
    removed = rng.randint(5, 20) * DAY if chance(rng, _REMOVED) else None
    learns = rng.randint(1, 40) * DAY if chance(rng, _LEARNT) else None
    cve = f"CVE-{added.year}-{rng.randint(10_000, 59_999)}"
    vendor, product = rng.choice(WORDS).title(), rng.choice(WORDS).title()
    if removed is not None and age >= removed:
        return
    yield {
        "cveID": cve,
        "vendorProject": vendor,
        "product": product,
        "vulnerabilityName": f"{vendor} {product} Played Vulnerability",
        "dateAdded": f"{added:%Y-%m-%d}",
        "shortDescription": f"{vendor} {product} contains a vulnerability that is played.",
        "requiredAction": "Apply mitigations per vendor instructions.",
        "dueDate": f"{added + timedelta(days=21):%Y-%m-%d}",
        "knownRansomwareCampaignUse": "Known" if learns and age >= learns else "Unknown",
        "notes": f"https://nvd.nist.gov/vuln/detail/{cve}",
        "cwes": rng.choice((["CWE-79"], ["CWE-502", "CWE-78"], [])),
    }


def _body(released: datetime, found: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "title": "CISA Catalog of Known Exploited Vulnerabilities",
        "catalogVersion": f"{released:%Y.%m.%d}",
        "dateReleased": f"{released:%Y-%m-%dT%H:%M:%S}.0000Z",
        "count": len(found),
        "vulnerabilities": found,
    }
