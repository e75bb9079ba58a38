"""Plays plain lists: one address a line, with or without a number, or one range with a note."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from ipaddress import IPv4Network

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from intel_assets.simulator.plain_lists_world import PlainListWorld, PlayedList
from intel_assets.simulator.stage import Stage, respond
from intel_assets.simulator.world import DAY, HOUR

LISTS = (
    PlayedList("ipsum", "stamparm/ipsum/master/ipsum.txt", 1500, DAY, HOUR, scored=True),
    PlayedList("malicious_ip", "romainmarcoux/malicious-ip/main/full-40k.txt", 1000, HOUR),
    PlayedList(
        "threatfox_ips", "elliotwutingfeng/ThreatFox-IOC-IPs/main/ips.txt", 800, HOUR, HOUR // 4
    ),
    PlayedList("blocklist_de", "lists/all.txt", 700, HOUR, host="lists.blocklist.de"),
    PlayedList(
        "emergingthreats",
        "fwrules/emerging-Block-IPs.txt",
        500,
        DAY,
        host="rules.emergingthreats.net",
    ),
    PlayedList("spamhaus_drop", "drop/drop.txt", 200, DAY, host="www.spamhaus.org", ranges=True),
)
HOSTS = tuple({played.host: None for played in LISTS})


def routes(stage: Stage) -> list[BaseRoute]:
    """Return what is played for the lists."""
    return [Route(f"/{played.host}/{played.path}", _served(stage, played)) for played in LISTS]


def _served(stage: Stage, played: PlayedList) -> Callable[[Request], Response]:
    world = PlainListWorld(played, stage.seed, stage.volume)

    def serve(request: Request) -> Response:
        made = world.made(stage.clock())
        return respond(
            request,
            lambda: _lines(world, played, made),
            media_type="text/plain; charset=utf-8",
            etag=stage.etag(played.name, made),
            headers={"Cache-Control": "max-age=300"},
        )

    return serve


def _lines(world: PlainListWorld, played: PlayedList, made: datetime) -> Iterator[bytes]:
    if played.scored:
        yield _head(made).encode()
    if played.ranges:
        head = f"; Spamhaus DROP List {made:%Y/%m/%d} - (c) {made:%Y} The Spamhaus Project"
        yield f"{head}\n; https://www.spamhaus.org/drop/drop.txt\n".encode()
        wide = (IPv4Network((one.address, 28), strict=False) for one in world.entries(made))
        for number, one in enumerate(dict.fromkeys(wide), 1):
            yield f"{one} ; SBL{number}\n".encode()
        return
    for entry in world.entries(made):
        yield (
            f"{entry.address}\t{entry.score}\n" if played.scored else f"{entry.address}\n"
        ).encode()


def _head(made: datetime) -> str:
    local = made.astimezone(timezone(timedelta(hours=2)))
    return (
        "# IPsum Threat Intelligence Feed\n# (https://github.com/stamparm/ipsum)\n#\n"
        f"# Last update: {format_datetime(local)}\n#\n# IP\tnumber of (black)lists\n#\n"
    )
