"""Plays TweetFeed's day files as GitHub serves them raw: headerless CSV, 404 for a missing day."""

from __future__ import annotations

import re
from datetime import date

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from intel_assets.simulator.stage import Stage, respond
from intel_assets.simulator.tweetfeed_world import TweetFeedWorld, version

HOST = "raw.githubusercontent.com"
HOSTS = (HOST,)

_FILE = re.compile(r"(\d{4})/(\d{4})(\d{2})/(\d{4})(\d{2})(\d{2})\.csv")


def routes(stage: Stage) -> list[BaseRoute]:
    """Return what is played for TweetFeed's repository."""
    world = TweetFeedWorld(stage.seed, stage.volume)

    def day_file(request: Request) -> Response:
        day = _day(request.path_params["file"])
        made = version(day, stage.clock()) if day else None
        if day is None or made is None or world.lines(day, made) is None:
            return PlainTextResponse("404: Not Found", status_code=404)
        return respond(
            request,
            lambda: world.lines(day, made) or (),
            media_type="text/plain; charset=utf-8",
            etag=stage.etag("tweetfeed", day, made),
            headers={"Cache-Control": "max-age=300"},
        )

    return [Route(f"/{HOST}/0xDanielLopez/TweetFeed/master/{{file:path}}", day_file)]


def _day(file: str) -> date | None:
    """Return the day of a path `2026/202607/20260701.csv`, or None if it is not such a path."""
    found = _FILE.fullmatch(file)
    if found is None or not found[1] == found[2] == found[4] or found[3] != found[5]:
        return None
    try:
        return date(int(found[4]), int(found[5]), int(found[6]))
    except ValueError:
        return None  # such as 20260231: no day, so no file
