"""Plays a MISP feed: a manifest, an event a file, and the hashes of all values.

Half of the events are changed a day or two later: a value is taken back and another added. One in
eight was synchronised late: it shows ten days after its date, with the time of then.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from intel_assets.simulator.events import Event, happened
from intel_assets.simulator.stage import Stage, respond
from intel_assets.simulator.world import chance, dice, domain, ip

HOST = "www.circl.lu"
HOSTS = (HOST,)

_PER_DAY = 1
_MEMORY = timedelta(days=40)
_CHANGED = 0.5
_LATE = 0.125
_LAG = timedelta(days=10)


def routes(stage: Stage) -> list[BaseRoute]:
    """Return what is played for the feed."""
    play = _Feed(stage)
    root = f"/{HOST}/doc/misp/feed-osint"
    return [
        Route(f"{root}/manifest.json", play.manifest),
        Route(f"{root}/hashes.csv", play.hashes),
        Route(f"{root}/{{uuid}}.json", play.event),
    ]


class _Feed:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def manifest(self, request: Request) -> Response:
        """Answer what events there are, and when each was changed last."""
        names = ("info", "date", "timestamp", "threat_level_id", "analysis", "Orgc", "Tag")
        found = {one["uuid"]: {name: one[name] for name in names} for one in self._events()}
        return self._json(request, found)

    def event(self, request: Request) -> Response:
        """Answer an event."""
        uuid = request.path_params["uuid"]
        found = next((one for one in self._events() if one["uuid"] == uuid), None)
        if found is None:
            return PlainTextResponse("404: Not Found", status_code=404)
        return self._json(request, {"Event": found})

    def hashes(self, request: Request) -> Response:
        """Answer the MD5 of every value, with the event that holds it."""
        lines = [
            f"{_digest(one['value'])},{event['uuid']}"
            for event in self._events()
            for one in event["Attribute"]
        ]
        return PlainTextResponse("\n".join(lines) + "\n", media_type="text/csv")

    def _json(self, request: Request, found: object) -> Response:
        text = json.dumps(found)
        return respond(
            request,
            lambda: [text.encode()],
            media_type="application/json",
            etag=self._stage.etag("misp", text),
        )

    def _events(self) -> Iterator[dict[str, Any]]:
        now, stage = self._stage.clock(), self._stage
        for one in happened(stage.seed, "misp", now - _MEMORY, now, _PER_DAY):
            own = dice(stage.seed, "misp", "life", one.number)
            if chance(own, _LATE) and one.age < _LAG:
                continue
            later = timedelta(seconds=own.randint(86_400, 2 * 86_400))
            changed = chance(own, _CHANGED) and one.age > later
            yield _event(one, one.at + later if changed else one.at, changed=changed)


def _digest(value: str) -> str:
    return hashlib.md5(value.encode(), usedforsecurity=False).hexdigest()


def _event(event: Event, at: datetime, *, changed: bool) -> dict[str, Any]:
    rng = dice("misp", "event", event.number)
    uuid = str(uuid5(NAMESPACE_URL, f"misp/{event.number}"))
    attributes = [_attribute(uuid, place, event.at, event.number) for place in range(8)]
    if changed:
        attributes[0] |= {"deleted": True, "to_ids": False, "timestamp": f"{at.timestamp():.0f}"}
        attributes = [*attributes[:1], *attributes[2:], _attribute(uuid, 9, at, event.number)]
    return {
        "uuid": uuid,
        "info": f"OSINT: campaign {event.number} that is played",
        "date": f"{event.at:%Y-%m-%d}",
        "timestamp": f"{at.timestamp():.0f}",
        "threat_level_id": str(rng.randint(1, 4)),
        "analysis": "2",
        "published": True,
        "Orgc": {"name": "CIRCL", "uuid": str(uuid5(NAMESPACE_URL, "circl"))},
        "Tag": [{"name": rng.choice(("tlp:white", "tlp:clear", "tlp:green"))}],
        "Attribute": attributes,
        "Object": [],
    }


def _attribute(event: str, place: int, at: datetime, number: int) -> dict[str, Any]:
    rng = dice("misp", "attribute", number, place)
    sha256 = f"{rng.getrandbits(256):064x}"
    kind, value = rng.choice(
        [
            ("ip-dst", ip(rng)),
            ("ip-dst|port", f"{ip(rng)}|{rng.randint(1, 65_535)}"),
            ("domain", domain(rng)),
            ("domain|ip", f"{domain(rng)}|{ip(rng)}"),
            ("url", f"http://{domain(rng)}/drop"),
            ("filename|sha256", f"invoice{rng.randint(1, 99)}.exe|{sha256}"),
            ("sha256", sha256),
            ("text", "what a person wrote"),
        ]
    )
    return {
        "uuid": str(uuid5(NAMESPACE_URL, f"{event}/{place}")),
        "type": kind,
        "category": "Network activity",
        "to_ids": kind != "text",
        "value": value,
        "comment": "",
        "timestamp": f"{at.timestamp():.0f}",
        "deleted": False,
        "distribution": "5",
    }
