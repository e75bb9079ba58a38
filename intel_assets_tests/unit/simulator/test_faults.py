from __future__ import annotations

import contextlib
import gzip
import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx
import pytest

from intel_assets.errors import UsageError
from intel_assets.simulator.faults import Fault, FaultRule, garble
from intel_assets.simulator.server import Simulator

URLHAUS = "/urlhaus.abuse.ch/downloads/csv_recent/"
TWEETFEED = "/raw.githubusercontent.com/0xDanielLopez/TweetFeed/master/2026/202611/20261116.csv"
BOTH = pytest.mark.parametrize("path", [URLHAUS, TWEETFEED])


def _next_is_good(client: httpx.Client, path: str = URLHAUS) -> bool:
    return client.get(path).status_code == 200


@pytest.mark.parametrize(("kind", "status"), [("429", 429), ("503", 503)])
def test_a_refusal_says_after_how_many_seconds_to_come_back(
    simulator: Simulator, client: httpx.Client, kind: str, status: int
) -> None:
    simulator.faults.add(kind, retry_after=17)
    answer = client.get(URLHAUS)
    assert (answer.status_code, answer.headers["Retry-After"]) == (status, "17")
    assert _next_is_good(client)


def test_a_refusal_can_say_it_as_an_http_date(simulator: Simulator, client: httpx.Client) -> None:
    simulator.faults.add("429", retry_after=60, as_date=True)
    until = parsedate_to_datetime(client.get(URLHAUS).headers["Retry-After"])
    assert abs(until - datetime.now(UTC) - timedelta(seconds=60)) < timedelta(seconds=3)


def test_a_refusal_can_leave_the_waiting_to_the_client(
    simulator: Simulator, client: httpx.Client
) -> None:
    simulator.faults.add("503", retry_after=None)
    simulator.faults.add("500")
    assert "Retry-After" not in client.get(URLHAUS).headers
    answer = client.get(URLHAUS)
    assert answer.status_code == 500
    assert "Retry-After" not in answer.headers


def test_unauthorized_is_401_also_with_the_right_key(
    simulator: Simulator, client: httpx.Client
) -> None:
    simulator.faults.add("unauthorized")
    assert client.get(URLHAUS, headers={"Auth-Key": "demo-key"}).status_code == 401


def test_a_timeout_never_answers(simulator: Simulator, client: httpx.Client) -> None:
    simulator.faults.add("timeout")
    with pytest.raises(httpx.ReadTimeout):
        client.get(URLHAUS, timeout=0.3)
    assert _next_is_good(client)
    assert [r.status for r in simulator.requests] == [None, 200]


def test_a_slow_body_is_whole_but_takes_its_time(
    simulator: Simulator, client: httpx.Client
) -> None:
    good = client.get(TWEETFEED).content
    simulator.faults.add("slow", seconds=0.02, size=len(good) // 10)
    began = time.monotonic()
    assert client.get(TWEETFEED).content == good
    assert time.monotonic() - began >= 0.2


@BOTH
@pytest.mark.parametrize("chunked", [False, True])
def test_a_truncated_body_ends_before_it_is_whole(
    simulator: Simulator, client: httpx.Client, path: str, chunked: bool
) -> None:
    good = client.get(path).content
    simulator.faults.add("truncated", chunked=chunked)
    got = bytearray()

    def read(answer: httpx.Response) -> None:
        for chunk in answer.iter_raw():
            got.extend(chunk)

    with client.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as answer:
        assert ("Content-Length" in answer.headers) is not chunked
        with pytest.raises(httpx.RemoteProtocolError):
            read(answer)
    assert 0 < len(got) < len(good)
    assert good.startswith(bytes(got))
    assert _next_is_good(client, path)


def test_a_truncated_gzip_body_is_whole_on_the_wire_and_broken_inside(
    simulator: Simulator, client: httpx.Client
) -> None:
    simulator.faults.add("truncated_gzip")
    with client.stream("GET", URLHAUS) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers["Content-Encoding"] == "gzip"
    assert int(answer.headers["Content-Length"]) == len(raw)
    with pytest.raises(EOFError):
        gzip.decompress(raw)


def test_a_wrong_content_type_is_a_page_with_200(
    simulator: Simulator, client: httpx.Client
) -> None:
    simulator.faults.add("wrong_content_type")
    answer = client.get(URLHAUS)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "<html>" in answer.text


def test_garbage_is_the_same_for_the_same_seed(simulator: Simulator, client: httpx.Client) -> None:
    for seed in (1, 1, 2):
        simulator.faults.add("garbage", size=100_000, seed=seed)
    first, second, third = (client.get(URLHAUS).content for _ in range(3))
    assert len(first) == 100_000
    assert first == second != third


@BOTH
def test_a_garbled_row_is_the_only_difference_to_the_good_body(
    simulator: Simulator, client: httpx.Client, path: str
) -> None:
    good = client.get(path).content.splitlines(keepends=True)
    simulator.faults.add("garbled_row")
    bad = client.get(path).content.splitlines(keepends=True)
    different = [(a, b) for a, b in zip(good, bad, strict=True) if a != b]
    assert len(different) == 1
    assert different[0][0].startswith(different[0][1].rstrip(b"\r\n"))


def test_garble_leaves_comments_and_line_ends_alone() -> None:
    assert garble(b"# only\n# comments\n") == b"# only\n# comments\n"
    assert garble(b"# head\n1,abc,xyz\r\n") == b"# head\n1,ab\r\n"


def test_an_empty_body_comes_with_200(simulator: Simulator, client: httpx.Client) -> None:
    simulator.faults.add("empty")
    answer = client.get(URLHAUS)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Length"] == "0"


def test_an_endless_body_goes_on_until_the_client_leaves(
    simulator: Simulator, client: httpx.Client
) -> None:
    simulator.faults.add("endless", seconds=0)
    got = 0
    with client.stream("GET", URLHAUS) as answer:
        for chunk in answer.iter_raw():
            got += len(chunk)
            if got > 20_000_000:
                break
    assert got > 20_000_000
    assert _next_is_good(client)


def test_a_disconnect_comes_before_any_header(simulator: Simulator, client: httpx.Client) -> None:
    simulator.faults.add("disconnect")
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(URLHAUS)
    assert _next_is_good(client)


@pytest.mark.parametrize("kind", ["truncated", "truncated_gzip", "garbled_row", "slow"])
def test_a_spoiled_body_is_sent_even_to_who_has_it_already(
    simulator: Simulator, client: httpx.Client, kind: str
) -> None:
    known = {"If-None-Match": client.get(TWEETFEED).headers["ETag"]}
    simulator.faults.add(kind, seconds=0)
    with client.stream("GET", TWEETFEED, headers=known) as answer:
        assert answer.status_code == 200


def test_every_kind_of_fault_is_played_and_recorded(simulator: Simulator) -> None:
    for kind in Fault:
        simulator.faults.add(kind, path=kind.value, seconds=0)
        address = f"{simulator.url}/some.host/{kind.value}"
        with (
            contextlib.suppress(httpx.ReadTimeout, httpx.RemoteProtocolError),
            httpx.stream("GET", address, timeout=0.2) as answer,
        ):
            assert answer.status_code
    assert [record.fault for record in simulator.requests] == list(Fault)


def test_a_rule_counts_only_the_requests_it_is_meant_for(
    simulator: Simulator, client: httpx.Client
) -> None:
    simulator.faults.add("500", host="urlhaus", path="csv_recent", times=2, after=1)
    statuses = [client.get(URLHAUS).status_code for _ in range(2)]
    assert client.get(TWEETFEED).status_code == 200
    statuses += [client.get(URLHAUS).status_code for _ in range(2)]
    assert statuses == [200, 500, 500, 200]


def test_a_rule_without_a_count_stays_until_it_is_taken_back(
    simulator: Simulator, client: httpx.Client
) -> None:
    number = simulator.faults.add("500", times=None)
    assert {client.get(URLHAUS).status_code for _ in range(5)} == {500}
    simulator.faults.remove(number)
    assert _next_is_good(client)


@pytest.mark.parametrize(
    ("kind", "options"), [("tsunami", {}), ("500", {"often": 3}), ("500", {"times": "many"})]
)
def test_a_rule_that_makes_no_sense_is_refused(
    simulator: Simulator, kind: str, options: dict[str, object]
) -> None:
    with pytest.raises(UsageError, match="Kinds: 429, 500"):
        simulator.faults.add(kind, **options)
    assert simulator.faults.as_json() == []


def test_an_empty_rule_matches_every_host_and_path() -> None:
    assert FaultRule(Fault.EMPTY).matches("any.host", "/any/path")
