"""Plays URLhaus: the recent dumps (CSV and JSON), the full dump and the recent-URLs API.

The bytes follow the real dumps: `#` lines with the header among them, everything quoted, `None`.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from io import RawIOBase
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from intel_assets.simulator.stage import Stage, floor_to, respond
from intel_assets.simulator.urlhaus_world import UrlhausWorld, UrlRecord
from intel_assets.simulator.world import stamp

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

API_HOST = "urlhaus-api.abuse.ch"
SITE_HOST = "urlhaus.abuse.ch"
HOSTS = (API_HOST, SITE_HOST)

WINDOW = timedelta(days=30)
API_WINDOW = timedelta(days=3)
HISTORY = timedelta(days=365)
REGENERATED_EVERY = 300
_API_MOST = 1000
_COLUMNS = "id,dateadded,url,url_status,last_online,threat,tags,urlhaus_link,reporter"


_Writer = Callable[[Iterator[UrlRecord], datetime], Iterable[bytes]]


def routes(stage: Stage) -> list[BaseRoute]:
    """Return what is played for the two hosts of URLhaus."""
    play = _Urlhaus(stage)
    exports = f"/{API_HOST}/files/exports"
    recent = f"/{API_HOST}/v1/urls/recent"
    return [
        Route(f"{exports}/recent.csv", play.exported_csv),
        Route(f"{exports}/recent.json", play.recent_json),
        Route(f"{exports}/full.json.zip", play.full_zip),
        Route(f"/{SITE_HOST}/downloads/csv_recent/", play.csv),
        Route(f"{recent}/", play.recent_urls),
        Route(f"{recent}/limit/{{limit:int}}/", play.recent_urls),
    ]


class _Urlhaus:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._world = UrlhausWorld(stage.seed, stage.volume)

    def exported_csv(self, request: Request) -> Response:
        """Answer the recent CSV to who has the key."""
        return self._refused(request) or self.csv(request)

    def csv(self, request: Request) -> Response:
        """Answer the recent CSV; `?generation=2019` and `2022` give the older shapes."""
        generation = request.query_params.get("generation", "")
        return self._dump(
            request,
            "csv" + generation,
            "text/csv; charset=utf-8",
            WINDOW,
            lambda records, made: csv_lines(records, made, generation),
        )

    def recent_json(self, request: Request) -> Response:
        """Answer the recent JSON dump to who has the key."""
        return self._refused(request) or self._dump(
            request, "json", "application/json", WINDOW, lambda records, _: json_pieces(records)
        )

    def full_zip(self, request: Request) -> Response:
        """Answer the zipped dump of the last year to who has the key."""
        return self._refused(request) or self._dump(
            request,
            "full",
            "application/zip",
            HISTORY,
            lambda records, _: zipped("urlhaus_full.json", json_pieces(records)),
        )

    def recent_urls(self, request: Request) -> Response:
        """Answer the API's last three days, at most 1000 records."""
        if refused := self._refused(request, query=False):
            return refused
        most = min(request.path_params.get("limit", _API_MOST), _API_MOST)
        now = self._stage.clock()
        found = [_api_entry(r) for r in islice(self._records(now, API_WINDOW), most)]
        return JSONResponse({"query_status": "ok" if found else "no_results", "urls": found})

    def _records(self, now: datetime, window: timedelta) -> Iterator[UrlRecord]:
        return self._world.published(now, now - window)

    def _dump(
        self, request: Request, name: str, media_type: str, window: timedelta, write: _Writer
    ) -> Response:
        made = floor_to(self._stage.clock(), REGENERATED_EVERY)
        return respond(
            request,
            lambda: write(self._records(made, window), made),
            media_type=media_type,
            etag=self._stage.etag("urlhaus", name, made),
            modified=made,
            compressible=name != "full",
        )

    def _refused(self, request: Request, *, query: bool = True) -> Response | None:
        given = request.headers.get("auth-key", "")
        if query:
            given = given or request.query_params.get("auth-key", "")
        if given == self._stage.auth_key:
            return None
        status = "unknown_auth_key" if given else "unauthorized"
        return JSONResponse({"query_status": status, "error": "Unauthorized"}, status_code=401)


def csv_lines(
    records: Iterable[UrlRecord], made: datetime, generation: str = ""
) -> Iterator[bytes]:
    """Write the recent dump as CSV, line by line.

    Args:
        records: What is published, newest first.
        made: When the dump was made.
        generation: `2019` has no last_online; `2022` writes `None` where it is not known or the
            URL is still online; otherwise it is empty where it is not known.
    """
    edge = "#" * 64
    columns = _COLUMNS.replace("last_online,", "") if generation == "2019" else _COLUMNS
    banner = (
        edge,
        _boxed("abuse.ch URLhaus Database Dump (CSV - recent URLs only)"),
        _boxed(f"Last updated: {made:%Y-%m-%d %H:%M:%S} (UTC)"),
        _boxed(""),
        _boxed("Terms Of Use: https://urlhaus.abuse.ch/api/"),
        _boxed("For questions please contact urlhaus [at] abuse.ch"),
        edge,
        "#",
        f"# {columns}",
    )
    yield ("\n".join(banner) + "\n").encode()
    for record in records:
        yield _csv_line(record, generation).encode()


def json_pieces(records: Iterable[UrlRecord]) -> Iterator[bytes]:
    """Write a dump as the JSON object that it is: id -> list of one record."""
    before = b"{"
    for record in records:
        entry = {
            "dateadded": f"{record.date_added} UTC",
            "url": record.url,
            "url_status": _status(record),
            "last_online": None if record.last_online is None else _utc(record.last_online),
            "threat": record.threat,
            "tags": list(record.tags) or None,
            "urlhaus_link": _link(record),
            "reporter": record.reporter,
        }
        yield before + f'"{record.id}":[{json.dumps(entry)}]'.encode()
        before = b",\n"
    yield b"{}\n" if before == b"{" else b"}\n"


def zipped(name: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Zip a stream into an archive with one member, without holding it."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        member = zipfile.ZipInfo(name)  # its fixed date keeps the bytes the same
        member.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(member, "w", force_zip64=True) as out:
            for piece in pieces:
                out.write(piece)
                yield sink.take()
    yield sink.take()


class _Sink(RawIOBase):
    """Keeps what the zip writer wrote until it is sent on."""

    def __init__(self) -> None:
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer) -> int:
        self._written += data
        return memoryview(data).nbytes

    def take(self) -> bytes:
        taken = bytes(self._written)
        self._written.clear()
        return taken


def _boxed(text: str) -> str:
    return f"# {text:<60} #"


def _csv_line(record: UrlRecord, generation: str) -> str:
    status, link = _status(record), _link(record)
    tags = ",".join(record.tags) or "None"
    last = () if generation == "2019" else (_last_online(record, generation),)
    fields = (record.id, record.date_added, record.url.replace('"', '""'), status, *last)
    return '"' + '","'.join(map(str, (*fields, record.threat, tags, link, record.reporter))) + '"\n'


def _last_online(record: UrlRecord, generation: str) -> str:
    if generation == "2022":
        unknown = record.online or record.last_online is None
        return "None" if unknown else stamp(record.last_online or 0)
    return "" if record.last_online is None else stamp(record.last_online)


def _api_entry(record: UrlRecord) -> dict[str, object]:
    return {
        "id": str(record.id),
        "urlhaus_reference": _link(record),
        "url": record.url,
        "url_status": _status(record),
        "host": urlsplit(record.url).hostname,
        "date_added": f"{record.date_added} UTC",
        "threat": record.threat,
        "blacklists": {"spamhaus_dbl": "not listed", "surbl": "not listed"},
        "reporter": record.reporter,
        "larted": "true" if record.id % 2 else "false",
        "tags": list(record.tags) or None,
    }


def _status(record: UrlRecord) -> str:
    return "online" if record.online else "offline"


def _link(record: UrlRecord) -> str:
    return f"https://urlhaus.abuse.ch/url/{record.id}/"


def _utc(seconds: int) -> str:
    return f"{stamp(seconds)} UTC"
