"""Plays MISP feeds: a manifest, an event a file, and the hashes of all values.

There is an event on two days of three. Half of them are changed some days later: a value is taken
back, one vanishes and another is added. One in four was synchronised late: it shows ten days after
its date, with the time of then. One in three describes a file, by an object of its hashes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from intel_assets.simulator.events import Event, happened
from intel_assets.simulator.stage import Stage, respond
from intel_assets.simulator.world import DAY, chance, dice, domain, ip

FEEDS: Mapping[str, tuple[str, str]] = {
    "www.circl.lu": ("/doc/misp/feed-osint", "CIRCL"),
    "www.botvrij.eu": ("/data/feed-osint", "Botvrij.eu"),
}
"""Where each feed is on its host, and who makes it."""
HOSTS = tuple(FEEDS)

_PER_DAY = 1
_QUIET = 0.33
_MEMORY = timedelta(days=40)
_CHANGED = 0.5
_LATE = 0.25
_LAG = timedelta(days=10)
_OF_A_FILE = 0.33
_SCOPES = ("tlp:white", "tlp:clear", "tlp:green")
_GALAXIES = (
    'misp-galaxy:malpedia="AsyncRAT"',
    'misp-galaxy:mitre-malware="Cobalt Strike - S0154"',
    'misp-galaxy:mitre-attack-pattern="Spearphishing Link - T1566.002"',
    'osint:source-type="blog-post"',
)


def routes(stage: Stage) -> list[BaseRoute]:
    """Return what is played for the feeds."""
    found: list[BaseRoute] = []
    for host, (folder, org) in FEEDS.items():
        play = _Feed(stage, org)
        root = f"/{host}{folder}"
        found += [
            Route(f"{root}/manifest.json", play.manifest),
            Route(f"{root}/hashes.csv", play.hashes),
            Route(f"{root}/{{uuid}}.json", play.event),
        ]
    return found


class _Feed:
    def __init__(self, stage: Stage, org: str) -> None:
        self._stage = stage
        self._org = org

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
        """Answer the MD5 of every value, of a composite's parts, with the event that holds it."""
        lines = [
            f"{_digest(part)},{event['uuid']}"
            for event in self._events()
            for one in _attributes(event)
            for part in (one["value"].split("|") if "|" in one["type"] else [one["value"]])
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
        for one in happened(stage.seed, f"misp/{self._org}", now - _MEMORY, now, _PER_DAY):
            own = dice(stage.seed, "misp", self._org, "life", one.number)
            if chance(own, _QUIET):
                continue
            if chance(own, _LATE) and one.age < _LAG:
                continue
            later = timedelta(seconds=own.randint(DAY, 6 * DAY))
            changed = chance(own, _CHANGED) and one.age > later
            yield _event(self._org, one, one.at + later if changed else one.at, changed=changed)


def _digest(value: str) -> str:
    return hashlib.md5(value.encode(), usedforsecurity=False).hexdigest()


def _uuid(*parts: object) -> str:
    return str(uuid5(NAMESPACE_URL, "/".join(map(str, parts))))


def _attributes(event: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from event["Attribute"]
    for each in event["Object"]:
        yield from each["Attribute"]


def _event(org: str, event: Event, at: datetime, *, changed: bool) -> dict[str, Any]:
    rng = dice("misp", org, "event", event.number)
    uuid = _uuid("misp", org, event.number)
    attributes = [_attribute(uuid, place, event.at) for place in range(8)]
    if changed:
        attributes[0] |= {"deleted": True, "to_ids": False, "timestamp": f"{at.timestamp():.0f}"}
        attributes = [*attributes[:1], *attributes[2:], _attribute(uuid, 9, at)]
    report = f"https://blog.example.org/{event.number}"
    attributes.append(_plain(uuid, "link", report, at=event.at, category="External analysis"))
    tags = [rng.choice(_SCOPES), *rng.sample(_GALAXIES, rng.randint(0, 3))]
    return {
        "uuid": uuid,
        "info": f"OSINT: campaign {event.number} that is played",
        "date": f"{event.at:%Y-%m-%d}",
        "timestamp": f"{at.timestamp():.0f}",
        "threat_level_id": str(rng.randint(1, 4)),
        "analysis": "2",
        "published": True,
        "Orgc": {"name": org, "uuid": _uuid(org)},
        "Tag": [{"name": tag, "colour": "#ffffff"} for tag in tags],
        "Attribute": attributes,
        "Object": [_file(uuid, event.at)] if chance(rng, _OF_A_FILE) else [],
    }


def _attribute(event: str, place: int, at: datetime) -> dict[str, Any]:
    rng = dice("misp", "attribute", event, place)
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
            ("text", f"what a person wrote {place}"),
        ]
    )
    return _plain(event, kind, value, at=at, category="Network activity")


def _file(event: str, at: datetime) -> dict[str, Any]:
    """Return an object: a file with its hashes and its name."""
    rng = dice("misp", "file", event)
    relations = {
        "md5": f"{rng.getrandbits(128):032x}",
        "sha1": f"{rng.getrandbits(160):040x}",
        "sha256": f"{rng.getrandbits(256):064x}",
        "filename": f"setup{rng.randint(1, 99)}.exe",
    }
    listed = [
        _plain(event, kind, value, at=at, category="Payload delivery") | {"object_relation": kind}
        for kind, value in relations.items()
    ]
    return {
        "uuid": _uuid(event, "file"),
        "name": "file",
        "meta-category": "file",
        "timestamp": f"{at.timestamp():.0f}",
        "deleted": False,
        "Attribute": listed,
    }


def _plain(event: str, kind: str, value: str, *, at: datetime, category: str) -> dict[str, Any]:
    return {
        "uuid": _uuid(event, kind, value),
        "type": kind,
        "category": category,
        "to_ids": kind not in ("text", "link", "filename"),
        "value": value,
        "comment": "",
        "timestamp": f"{at.timestamp():.0f}",
        "deleted": False,
        "distribution": "5",
    }
