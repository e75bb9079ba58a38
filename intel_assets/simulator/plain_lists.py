"""Plays plain lists as GitHub serves them raw: one address a line, with or without a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from intel_assets.simulator.plain_lists_world import PlainListWorld, PlayedList
from intel_assets.simulator.stage import Stage, respond
from intel_assets.simulator.world import DAY, HOUR

HOST = "raw.githubusercontent.com"
HOSTS = (HOST,)

LISTS = (
    PlayedList("ipsum", "stamparm/ipsum/master/ipsum.txt", 1500, DAY, HOUR, scored=True),
    PlayedList("malicious_ip", "romainmarcoux/malicious-ip/main/full-40k.txt", 1000, HOUR),
    PlayedList(
        "threatfox_ips", "elliotwutingfeng/ThreatFox-IOC-IPs/main/ips.txt", 800, HOUR, HOUR // 4
    ),
)


def routes(stage: Stage) -> list[BaseRoute]:
    """Return what is played for the lists."""
    return [Route(f"/{HOST}/{played.path}", _served(stage, played)) for played in LISTS]


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
    for one in world.entries(made):
        yield (f"{one.address}\t{one.score}\n" if played.scored else f"{one.address}\n").encode()


def _head(made: datetime) -> str:
    local = made.astimezone(timezone(timedelta(hours=2)))
    return (
        "# IPsum Threat Intelligence Feed\n# (https://github.com/stamparm/ipsum)\n#\n"
        f"# Last update: {format_datetime(local)}\n#\n# IP\tnumber of (black)lists\n#\n"
    )
