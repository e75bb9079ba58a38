"""What the HTTP client promises, held against real sockets."""

from __future__ import annotations

import base64
import gzip
import logging
import resource
import socket
import threading
import time
import traceback
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import quote

import pytest

from intel_assets.clock import system_clock
from intel_assets.errors import (
    BodyTooLarge,
    ConfigurationError,
    DiskFull,
    HostUnavailable,
    IntelError,
    NotPublished,
    Unauthorized,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnavailable,
    UsageError,
)
from intel_assets.ingest.hosts import HostLedger
from intel_assets.ingest.http import HttpClient, Request, Validators
from intel_assets.ingest.redact import Redactor
from intel_assets.lakehouse.landing import Landing
from intel_assets_tests.unit.ingest.conftest import (
    CANARY,
    PATIENT,
    Host,
    Seen,
    answer,
    breaking_off,
    hosting,
    saying,
)

TRUNCATED = answer(200, b"half of it").replace(b"Content-Length: 10", b"Content-Length: 20")


def stored(landing: Landing) -> list[Path]:
    """Return the objects that a landing holds."""
    return [path for path in Path(landing.uri).rglob("*") if path.is_file()]


def test_a_body_is_landed_as_it_came(host: Host, client: HttpClient, landing: Landing) -> None:
    host.script = saying(
        answer(200, b"a,b\n1,2\n", ETag='"v1"', Last_Modified="now", Content_Type="text/csv")
    )
    got = client.fetch(Request(host.url + "dump?x=1", params={"y": "ä b"}))
    assert got.body is not None
    assert got.body.path.read_bytes() == b"a,b\n1,2\n"
    with landing.open(got.body.sha256) as path:
        assert path.read_bytes() == b"a,b\n1,2\n"
    assert (got.status, got.attempts, got.etag) == (200, 1, '"v1"')
    assert (got.last_modified, got.content_type) == ("now", "text/csv")
    assert got.started_at <= got.received_at
    assert host.seen[0].target == "/dump?x=1&y=%C3%A4+b"


def test_json_and_form_data_are_posted(host: Host, client: HttpClient) -> None:
    client.fetch(Request(host.url, "POST", json={"query": "get_iocs", "days": 3}))
    client.fetch(Request(host.url, "POST", data={"a": "1 2"}))
    client.fetch(Request(host.url, "POST", data=b"raw"))
    assert [seen.body for seen in host.seen] == [
        b'{"query":"get_iocs","days":3}',
        b"a=1+2",
        b"raw",
    ]


def test_connections_are_reused(host: Host, client: HttpClient) -> None:
    for _ in range(5):
        client.fetch(Request(host.url))
    assert {seen.connection for seen in host.seen} == {1}


def test_an_unchanged_body_costs_a_304(host: Host, client: HttpClient, landing: Landing) -> None:
    host.script = saying(answer(200, b"x", ETag='"v1"'), answer(304, ETag='"v1"'))
    first = client.fetch(Request(host.url))
    assert first.body is not None
    validators = Validators(first.etag, "Fri, 20 Nov 2026 00:00:00 GMT", first.body.sha256)
    second = client.fetch(Request(host.url), validators=validators)
    assert (second.status, second.body) == (304, None)
    assert host.seen[1].headers["if-none-match"] == '"v1"'
    assert host.seen[1].headers["if-modified-since"] == "Fri, 20 Nov 2026 00:00:00 GMT"
    assert len(stored(landing)) == 1


def test_a_body_that_the_landing_lost_is_asked_for_in_full(host: Host, client: HttpClient) -> None:
    client.fetch(Request(host.url), validators=Validators('"v1"', None, "0" * 64))
    assert "if-none-match" not in host.seen[0].headers


def test_a_304_that_nobody_asked_for_is_refused(host: Host, client: HttpClient) -> None:
    host.script = saying(answer(304))
    with pytest.raises(UpstreamRefused):
        client.fetch(Request(host.url))


def test_a_known_body_is_not_stored_again(host: Host, client: HttpClient) -> None:
    first, second = client.fetch(Request(host.url)), client.fetch(Request(host.url))
    assert first.body is not None
    assert second.body is not None
    assert (first.body.known, second.body.known) == (False, True)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(
    host: Host, client: HttpClient, naps: list[float], status: int
) -> None:
    host.script = saying(answer(status), answer(status), answer(200, b"at last"))
    got = client.fetch(Request(host.url))
    assert (got.attempts, len(naps)) == (3, 2)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, UpstreamRefused),
        (401, Unauthorized),
        (402, Unauthorized),
        (403, Unauthorized),
        (404, NotPublished),
        (408, UpstreamRefused),
        (410, NotPublished),
        (422, UpstreamRefused),
        (300, UpstreamRefused),
    ],
)
def test_what_will_not_pass_is_asked_once(
    host: Host, client: HttpClient, status: int, kind: type[UpstreamError]
) -> None:
    host.script = saying(answer(status, b'{"query_status": "no\nway"}'))
    with pytest.raises(kind) as caught:
        client.fetch(Request(host.url))
    assert (caught.value.status, caught.value.attempts, len(host.seen)) == (status, 1, 1)
    assert caught.value.url == host.url
    assert caught.value.started_at is not None


def test_a_refusal_quotes_what_the_host_says(host: Host, client: HttpClient) -> None:
    host.script = saying(answer(400, b'{"error":\n "days must be 1..7"}\x00' + b"x" * 5000))
    with pytest.raises(UpstreamRefused, match="days must be 1..7") as caught:
        client.fetch(Request(host.url))
    assert len(str(caught.value)) < 400


def test_attempts_are_used_up(host: Host, client: HttpClient) -> None:
    host.script = saying(answer(503))
    with pytest.raises(UpstreamUnavailable, match="3 attempts: it answered 503") as caught:
        client.fetch(Request(host.url))
    assert (caught.value.attempts, caught.value.status, len(host.seen)) == (3, 503, 3)


def test_waits_grow_and_stay_below_the_longest(
    host: Host, client: HttpClient, naps: list[float]
) -> None:
    host.script = saying(answer(500))
    with pytest.raises(UpstreamUnavailable):
        client.fetch(Request(host.url), policy=replace(PATIENT, attempts=9, max_wait=20))
    assert all(0.5 * 2**n <= nap for n, nap in enumerate(naps[:5]))
    assert max(naps) == 20
    assert len(naps) == 8


def test_nobody_listens(client: HttpClient) -> None:
    with hosting(saying(b"")) as gone:
        url = gone.url
    with pytest.raises(UpstreamUnavailable) as caught:
        client.fetch(Request(url))
    assert (caught.value.status, caught.value.attempts) == (None, 3)


def test_retry_after_seconds_are_kept(host: Host, client: HttpClient, naps: list[float]) -> None:
    host.script = saying(answer(429, Retry_After="7"), answer(200))
    client.fetch(Request(host.url), policy=replace(PATIENT, max_wait=60))
    assert 7 <= naps[0] < 8


def test_retry_after_a_date_is_kept_by_the_hosts_own_clock(
    host: Host, client: HttpClient, naps: list[float]
) -> None:
    theirs = datetime(2031, 5, 3, 12, tzinfo=UTC)
    until = format_datetime(theirs + timedelta(seconds=20), usegmt=True)
    date = format_datetime(theirs, usegmt=True)
    host.script = saying(answer(503, Retry_After=until, Date=date), answer(200))
    client.fetch(Request(host.url), policy=replace(PATIENT, max_wait=60))
    assert 20 <= naps[0] < 21


@pytest.mark.parametrize("value", ["soon", "-5", "1e9", "Thu, 99 Foo 2026", "\xb2", ""])
def test_a_retry_after_without_sense_is_overlooked(
    host: Host, client: HttpClient, naps: list[float], value: str
) -> None:
    host.script = saying(answer(429, Retry_After=value), answer(200))
    assert client.fetch(Request(host.url)).attempts == 2
    assert naps[0] <= PATIENT.max_wait


def test_a_host_that_wants_long_peace_gets_it_at_once(
    host: Host, client: HttpClient, naps: list[float]
) -> None:
    host.script = saying(answer(429, Retry_After="3600"))
    with pytest.raises(HostUnavailable, match="asks not to be called before") as caught:
        client.fetch(Request(host.url))
    assert (caught.value.status, caught.value.attempts, naps) == (429, 1, [])
    assert timedelta(minutes=59) < caught.value.retry_at - system_clock() < timedelta(minutes=61)


def test_a_retry_after_beyond_all_time_is_no_crash(host: Host, client: HttpClient) -> None:
    host.script = saying(answer(429, Retry_After="9" * 400))
    with pytest.raises(HostUnavailable):
        client.fetch(Request(host.url))


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "evidence"),
    [
        (TRUNCATED, b"half of it"),
        (CHUNKED + b"5\r\nhello\r\n", b"hello"),
        (CHUNKED + b"5\r\nhello\r\nzz\r\n", b"hello"),
        (answer(200, gzip.compress(b"a" * 99, mtime=0)[:-9], Content_Encoding="gzip"), None),
        (answer(200, gzip.compress(b"a" * 99, mtime=0)[:-4], Content_Encoding="gzip"), b"a" * 99),
        (answer(200, b"no gzip at all", Content_Encoding="gzip"), b"no gzip at all"),
        (answer(200, b"\x01\x02", Content_Encoding="br"), b"\x01\x02"),
    ],
)
def test_a_broken_body_is_tried_again_and_then_kept_as_evidence(
    host: Host, client: HttpClient, landing: Landing, data: bytes, evidence: bytes | None
) -> None:
    host.script = breaking_off(data)
    with pytest.raises(UpstreamUnavailable) as caught:
        client.fetch(Request(host.url))
    assert (caught.value.status, caught.value.attempts, len(host.seen)) == (200, 3, 3)
    partial = caught.value.partial
    assert partial is not None
    assert landing.exists(partial.sha256)
    assert partial.path.read_bytes() == (evidence if evidence is not None else b"a" * 99)
    assert len(stored(landing)) == 1
    assert len(list(landing.spool.iterdir())) == 1


def test_a_body_that_breaks_off_once_comes_whole_the_second_time(
    host: Host, client: HttpClient, landing: Landing
) -> None:
    scripts = iter([breaking_off(TRUNCATED), saying(answer(200, b"all of it"))])
    host.script = lambda seen, connection: next(scripts)(seen, connection)
    got = client.fetch(Request(host.url))
    assert got.body is not None
    assert got.body.path.read_bytes() == b"all of it"
    assert len(stored(landing)) == 1


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "raw deflate", "members"])
def test_content_encodings_are_undone(host: Host, client: HttpClient, encoding: str) -> None:
    plain = b"line\n" * 50_000
    raw = zlib.compressobj(wbits=-15)
    packed = {
        "deflate": zlib.compress(plain),
        "raw deflate": raw.compress(plain) + raw.flush(),
        "members": gzip.compress(plain[:7]) + gzip.compress(plain[7:]),
    }.get(encoding, gzip.compress(plain))
    header = {"raw deflate": "deflate", "members": "gzip"}.get(encoding, encoding)
    host.script = saying(answer(200, packed, Content_Encoding=header))
    got = client.fetch(Request(host.url))
    assert got.body is not None
    assert got.body.path.read_bytes() == plain


def test_an_empty_answer_is_an_empty_body(host: Host, client: HttpClient) -> None:
    host.script = saying(answer(200, b""), answer(200, b"", Content_Encoding="gzip"))
    for _ in range(2):
        got = client.fetch(Request(host.url))
        assert got.body is not None
        assert got.body.size == 0


@pytest.mark.parametrize("packed", [False, True])
def test_the_size_limit_holds_on_plain_bytes(
    host: Host, client: HttpClient, landing: Landing, packed: bool
) -> None:
    bomb = b"\0" * 50_000_000
    host.script = saying(
        answer(200, gzip.compress(bomb), Content_Encoding="gzip") if packed else answer(200, bomb)
    )
    tracemalloc.start()
    with pytest.raises(BodyTooLarge, match="larger than 1000000 bytes") as caught:
        client.fetch(Request(host.url), policy=replace(PATIENT, max_bytes=1_000_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000
    assert caught.value.attempts == 1
    assert stored(landing) == []
    assert list(landing.spool.iterdir()) == []


def test_a_body_of_just_the_limit_passes(host: Host, client: HttpClient) -> None:
    got = client.fetch(Request(host.url), policy=replace(PATIENT, max_bytes=5))
    assert got.body is not None
    assert got.body.size == 5


def trickling(head: bytes, piece: bytes, pause: float) -> Callable[[Seen, socket.socket], None]:
    """Return a script that sends a piece for ever, a pause after each."""

    def script(_: Seen, connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(piece)
            time.sleep(pause)

    return script


@pytest.mark.parametrize(
    ("head", "piece", "pause"),
    [
        (b"", b"H", 0.05),
        (b"HTTP/1.1 200 OK\r\n", b"X-A: 1\r\n", 0.05),
        (CHUNKED, b"1\r\nx\r\n", 0.05),
        (CHUNKED, b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n", 0.0005),
    ],
)
def test_a_host_that_never_ends_is_ended(
    host: Host, client: HttpClient, head: bytes, piece: bytes, pause: float
) -> None:
    host.script = trickling(head, piece, pause)
    began = time.monotonic()
    with pytest.raises(UpstreamUnavailable) as caught:
        client.fetch(Request(host.url), policy=replace(PATIENT, attempts=1, total_timeout=0.4))
    assert time.monotonic() - began < 1.0
    assert "1 attempt" in str(caught.value)


def test_a_silent_host_is_ended_by_the_read_timeout(host: Host, client: HttpClient) -> None:
    host.script = lambda _seen, _connection: time.sleep(5)
    began = time.monotonic()
    with pytest.raises(UpstreamUnavailable, match="nothing came for 0.2 s"):
        client.fetch(Request(host.url), policy=replace(PATIENT, attempts=2, read_timeout=0.2))
    assert 0.4 < time.monotonic() - began < 1.5
    assert len(host.seen) == 2


def test_what_was_received_before_a_timeout_is_evidence(host: Host, client: HttpClient) -> None:
    def script(_: Seen, connection: socket.socket) -> None:
        connection.sendall(TRUNCATED)
        time.sleep(5)

    host.script = script
    with pytest.raises(UpstreamUnavailable, match="nothing came") as caught:
        client.fetch(Request(host.url), policy=replace(PATIENT, attempts=1, read_timeout=0.2))
    assert caught.value.partial is not None
    assert caught.value.partial.size == 10


SECRET_HEADERS = {"Auth-Key": "k1", "Authorization": "Bearer k2", "X-Api-Key": "k3", "Cookie": "k4"}


def test_keys_go_to_another_path_but_not_to_another_host(host: Host, client: HttpClient) -> None:
    with hosting(saying(answer(200, b"there"))) as other:
        host.script = saying(
            answer(302, Location="/second"), answer(307, Location=other.url + "third")
        )
        got = client.fetch(Request(host.url, headers=SECRET_HEADERS | {"Accept": "text/csv"}))
    assert got.body is not None
    assert got.body.path.read_bytes() == b"there"
    assert [seen.target for seen in host.seen] == ["/", "/second"]
    assert host.seen[1].headers["auth-key"] == "k1"
    assert other.seen[0].headers["accept"] == "text/csv"
    assert other.seen[0].headers["host"] == other.name
    assert not any(f"k{n}" in str(other.seen[0].headers) for n in (1, 2, 3, 4))


def test_user_info_of_an_address_goes_to_its_host_only(host: Host, client: HttpClient) -> None:
    with hosting(saying(answer(200))) as other:
        host.script = saying(answer(302, Location=other.url))
        client.fetch(Request(host.url.replace("//", "//me:pass@")))
    assert host.seen[0].headers["authorization"].startswith("Basic ")
    assert "authorization" not in other.seen[0].headers


def test_posted_data_do_not_go_to_another_host(host: Host, client: HttpClient) -> None:
    with hosting(saying(answer(200))) as other:
        host.script = saying(answer(308, Location=other.url))
        with pytest.raises(UpstreamRefused, match="sent on"):
            client.fetch(Request(host.url, "POST", json={"key": "k"}))
    assert other.seen == []


def test_a_303_is_followed_with_a_get(host: Host, client: HttpClient) -> None:
    host.script = saying(answer(303, Location="/result"), answer(200))
    client.fetch(Request(host.url, "POST", json={"a": 1}))
    assert (host.seen[1].method, host.seen[1].body) == ("GET", b"")
    assert "content-type" not in host.seen[1].headers


def test_a_307_is_followed_with_the_same_data(host: Host, client: HttpClient) -> None:
    host.script = saying(answer(307, Location="/again"), answer(200))
    client.fetch(Request(host.url, "POST", json={"a": 1}))
    assert (host.seen[1].method, host.seen[1].body) == ("POST", b'{"a":1}')


def test_five_redirects_are_followed_and_no_more(host: Host, client: HttpClient) -> None:
    host.script = saying(answer(302, Location="/on"))
    with pytest.raises(UpstreamRefused, match="more than 5 times"):
        client.fetch(Request(host.url))
    assert len(host.seen) == 6


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://h/x", "http://", "http://[::1"])
def test_redirects_lead_to_http_only(host: Host, client: HttpClient, target: str) -> None:
    host.script = saying(answer(302, Location=target))
    with pytest.raises(UpstreamRefused):
        client.fetch(Request(host.url))


@pytest.mark.parametrize("url", ["file:///etc/passwd", "nonsense", "http://h:port/", "//h/x", ""])
def test_an_address_that_is_none_is_a_usage_error(client: HttpClient, url: str) -> None:
    with pytest.raises(UsageError):
        client.fetch(Request(url))


def test_cookies_are_not_kept(host: Host, client: HttpClient) -> None:
    host.script = saying(answer(200, Set_Cookie="id=1; Path=/"))
    client.fetch(Request(host.url))
    client.fetch(Request(host.url))
    assert "cookie" not in host.seen[1].headers


def test_the_circuit_opens_on_faults_and_not_on_refusals(
    host: Host, landing: Landing, tmp_path: Path
) -> None:
    ledger = HostLedger(tmp_path / "b.db", system_clock, threshold=4, cooldown=0.3)
    with HttpClient(landing, ledger, Redactor({}), system_clock, PATIENT, lambda _: None) as client:
        host.script = saying(answer(404))
        for _ in range(6):
            with pytest.raises(NotPublished):
                client.fetch(Request(host.url))
        host.script = saying(answer(429))
        for _ in range(2):
            with pytest.raises(UpstreamUnavailable):
                client.fetch(Request(host.url))
        host.script = saying(answer(500))
        with pytest.raises(UpstreamUnavailable):
            client.fetch(Request(host.url))
        with pytest.raises(HostUnavailable, match="not asked again before") as caught:
            client.fetch(Request(host.url))
        assert (caught.value.attempts, caught.value.status) == (1, 500)
        asked = len(host.seen)
        with pytest.raises(HostUnavailable) as caught:
            client.fetch(Request(host.url))
        assert (caught.value.attempts, len(host.seen)) == (0, asked)
        time.sleep(0.35)
        host.script = saying(answer(200))
        assert client.fetch(Request(host.url)).status == 200
        assert client.fetch(Request(host.url)).status == 200


def test_a_full_disk_is_no_fault_of_the_host(
    host: Host, client: HttpClient, monkeypatch: pytest.MonkeyPatch, landing: Landing
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("obstore.put", full)
    with pytest.raises(DiskFull, match="lake/landing"):
        client.fetch(Request(host.url))
    assert len(host.seen) == 1
    assert list(landing.spool.iterdir()) == []


def test_threads_share_a_client(host: Host, client: HttpClient) -> None:
    def script(seen: Seen, connection: socket.socket) -> None:
        connection.sendall(answer(200, seen.target.encode() * 1000))

    host.script = script
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda n: client.fetch(Request(f"{host.url}{n}")), range(40)))
    for number, received in enumerate(got):
        assert received.body is not None
        assert received.body.path.read_bytes() == f"/{number}".encode() * 1000


def test_each_attempt_waits_its_turn(host: Host, client: HttpClient) -> None:
    host.script = saying(answer(500))
    began = time.monotonic()
    with pytest.raises(UpstreamUnavailable):
        client.fetch(
            Request(host.url), policy=replace(PATIENT, attempts=4, rate_per_second=10, burst=1)
        )
    # A request that is slow to arrive may be close to the next; none is ahead of its turn.
    waited = [one.at - began for one in host.seen]
    assert len(waited) == 4
    assert all(seconds > 0.1 * number - 0.01 for number, seconds in enumerate(waited))


def test_attempts_and_retries_are_logged(
    host: Host, client: HttpClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    host.script = saying(answer(500), answer(200))
    client.fetch(Request(host.url))
    levels = [(r.levelname, r.getMessage().split()[0]) for r in caplog.records]
    assert levels == [
        ("DEBUG", "asking"),
        ("INFO", "127.0.0.1:"),
        ("DEBUG", "asking"),
        ("DEBUG", host.url),
    ]
    assert vars(caplog.records[1])["attempt"] == 1


def _faults() -> Iterator[tuple[str, Callable[[Seen, socket.socket], None]]]:
    echo = CANARY.encode()
    yield "fine", saying(answer(200))
    for status in (400, 401, 403, 404, 429, 500):
        yield f"{status} that echoes", saying(answer(status, b"your key " + echo + b" is bad"))
    yield "long retry-after", saying(answer(429, Retry_After="9999"))
    yield "no answer", breaking_off(b"")
    yield "garbage", breaking_off(b"garbage " + echo + b"\r\n\r\n")
    yield "bad header", breaking_off(b"HTTP/1.1 200 OK\r\n" + echo + b"\x00: 1\r\n\r\n")
    yield "truncated", breaking_off(TRUNCATED)
    yield "garbled", breaking_off(answer(200, b"xx", Content_Encoding="gzip"))
    yield "odd encoding", breaking_off(answer(200, b"xx", Content_Encoding=CANARY))
    yield "silence", lambda _seen, _connection: time.sleep(2)
    yield "endless", trickling(CHUNKED, b"1\r\nx\r\n", 0.01)
    yield "large", saying(answer(200, b"x" * 2000))
    yield "redirect loop", saying(answer(302, Location="/?auth-key=" + quote(CANARY, safe="")))
    yield "bad redirect", saying(answer(302, Location="file:///" + quote(CANARY, safe="")))
    yield "unreadable redirect", saying(answer(302, Location="http://[" + CANARY))
    yield "redirect to nobody", saying(answer(302, Location=f"http://u:{CANARY}@127.0.0.1:1/"))


def _shown(error: BaseException | None) -> list[str]:
    """Return everything that an error, and those it drags along, say of themselves."""
    if error is None:
        return []
    own = [str(error), repr(error), repr(error.args), repr(vars(error))]
    own.append("".join(traceback.format_exception(error)))
    return own + _shown(error.__cause__) + _shown(error.__context__)


@pytest.mark.parametrize("place", ["header", "query", "user info", "body", "basic", "bad header"])
@pytest.mark.parametrize("script", dict(_faults()).values(), ids=dict(_faults()).keys())
def test_a_key_shows_nowhere(
    host: Host,
    client: HttpClient,
    landing: Landing,
    caplog: pytest.LogCaptureFixture,
    script: Callable[[Seen, socket.socket], None],
    place: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    host.script = script
    userinfo = f"//me:{quote(CANARY, safe='')}@"
    request = {
        "header": Request(host.url, headers={"Auth-Key": CANARY}),
        "query": Request(host.url, params={"q": CANARY, "auth-key": CANARY}),
        "user info": Request(host.url.replace("//", userinfo)),
        "body": Request(host.url, "POST", json={"key": CANARY}),
        "basic": Request(host.url, headers={"Authorization": CANARY}),
        "bad header": Request(host.url, headers={"Auth-Key": CANARY + "\n"}),
    }[place]
    policy = replace(PATIENT, attempts=2, read_timeout=0.1, total_timeout=0.1, max_bytes=1000)
    shown: list[str] = []
    try:
        shown.append(repr(client.fetch(request, policy=policy)))
    except IntelError as error:
        shown.extend(_shown(error))
    shown += [str(vars(record)) + record.getMessage() for record in caplog.records]
    text = "\n".join(shown)
    assert "c4nary" not in text
    assert base64.b64encode(b"me:" + CANARY.encode()).decode()[4:] not in text
    for path in stored(landing):
        with landing.open(path.stem) as plain:
            assert b"c4nary" not in plain.read_bytes()


@pytest.mark.parametrize("key", ["with a line end\n", "with ümlaut", "with \x00", "\r\nX: 1"])
def test_a_key_that_cannot_be_sent_is_a_matter_of_configuration(
    host: Host, client: HttpClient, key: str
) -> None:
    with pytest.raises(ConfigurationError, match="Look at the key") as caught:
        client.fetch(Request(host.url, headers={"Auth-Key": key}))
    assert host.seen == []
    assert not any("with" in shown.split("Look")[0] for shown in _shown(caught.value)[:3])


def _stream(total: int) -> Callable[[Seen, socket.socket], None]:
    def script(_: Seen, connection: socket.socket) -> None:
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n\r\n".encode())
        piece = (b"%d,http://host.example/a/b\n" * 40_000) % tuple(range(40_000))
        left = total
        while left:
            left -= connection.send(piece[:left])

    return script


def _peak_while(work: Callable[[], object]) -> int:
    """Return by how many bytes the resident memory grew at most."""
    statm, page = Path("/proc/self/statm"), resource.getpagesize()
    if not statm.exists():
        pytest.skip("The resident memory is read from /proc, which is not there.")
    peak, done = 0, threading.Event()
    before = int(statm.read_text().split()[1])

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.01):
            peak = max(peak, (int(statm.read_text().split()[1]) - before) * page)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return peak


@pytest.mark.parametrize(
    "size", [64 << 20, pytest.param(1 << 30, marks=pytest.mark.slow)], ids=["64 MiB", "1 GiB"]
)
def test_memory_does_not_grow_with_the_body(host: Host, client: HttpClient, size: int) -> None:
    host.script = _stream(size)
    policy = replace(PATIENT, total_timeout=120, read_timeout=10)
    assert _peak_while(lambda: client.fetch(Request(host.url), policy=policy)) < 100 << 20
