"""The whole way on `s3://`, against a local S3 server: a lake is a URI, nothing else changes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import date, timedelta

import httpx
import pytest
from moto.server import ThreadedMotoServer

from intel_assets.ingest.documents import Window
from intel_assets.lakehouse.catalog import Catalog
from intel_assets.lakehouse.maintenance import maintain
from intel_assets.lakehouse.views import TableName
from intel_assets.simulator.server import Simulator
from intel_assets_tests.conftest import NOON, MakeLake, TestLake, assert_same, unhurried

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("s3")]

TWEETFEED = unhurried("tweetfeed")
DAYS = Window(NOON.date() - timedelta(days=5), NOON.date()).days


@pytest.fixture(scope="module")
def bucket() -> Iterator[dict[str, str]]:
    """Settings of a lake in a bucket of a server that runs as long as this module."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    httpx.put(f"{url}/intel").raise_for_status()
    yield {
        "AWS_ENDPOINT_URL": url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "canary-of-s3",
        "AWS_REGION": "us-east-1",
        "conditional_put": "etag",
    }
    server.stop()


def on_s3(make_lake: MakeLake, played: Simulator, bucket: dict[str, str], name: str) -> TestLake:
    return make_lake(played, lake=f"s3://intel/{name}", storage_options=bucket)


@pytest.mark.parametrize("name", ["tweetfeed", "urlhaus"])
def test_a_lake_on_s3_says_what_a_local_one_says(
    make_lake: MakeLake, played: Simulator, bucket: dict[str, str], name: str
) -> None:
    remote, local = on_s3(make_lake, played, bucket, name), make_lake(played)
    spec = unhurried(name)
    for hours in (0, 26):
        played.clock.set(NOON + timedelta(hours=hours))
        here, there = local.fetch(spec, DAYS), remote.fetch(spec, DAYS)
        assert [result.state for result in there] == [result.state for result in here]
    for moment in ({}, {"as_of": NOON}, {"history": True}):
        assert_same(remote.tables(name, **moment), local.tables(name, **moment))
    layout = remote.engine.settings.layout
    fetches = TableName("ops", "fetches")
    with Catalog(layout).connect(held=[fetches]) as held, Catalog(layout).connect() as plain:
        asked = f"SELECT source, fetch_id FROM {fetches} ORDER BY ALL"
        assert held.execute(asked).fetchall() == plain.execute(asked).fetchall() != []
    before = remote.tables(name, history=True)
    remote.replay(spec, DAYS)
    done = maintain(layout, retention=timedelta(0), shorter=True, run_id="upkeep")
    assert not [upkeep.skipped for upkeep in done if upkeep.skipped]
    assert sum(upkeep.removed for upkeep in done) > 0
    assert_same(remote.tables(name, history=True), before)


def test_an_unchanged_body_commits_nothing_on_s3(
    make_lake: MakeLake, played: Simulator, bucket: dict[str, str]
) -> None:
    lake = on_s3(make_lake, played, bucket, "again")
    lake.fetch(TWEETFEED, DAYS[:3])
    commits = lake.commits("tweetfeed")
    played.clock.advance(30)
    lake.fetch(TWEETFEED, DAYS[:3])
    assert lake.commits("tweetfeed") == commits
    assert "not_modified" in set(lake.sql("FROM ops.fetches")["outcome"])


def test_writers_at_once_on_s3_lose_nothing(
    make_lake: MakeLake, played: Simulator, bucket: dict[str, str]
) -> None:
    lakes = [on_s3(make_lake, played, bucket, "busy") for _ in range(3)]
    parts = [DAYS[:4], DAYS[2:], DAYS]  # overlapping on purpose
    failures: list[BaseException] = []

    def write(lake: TestLake, days: list[date]) -> None:
        try:
            lake.fetch(TWEETFEED, days)
        except BaseException as error:
            failures.append(error)

    writers = [threading.Thread(target=write, args=pair) for pair in zip(lakes, parts, strict=True)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert not failures
    alone = make_lake(played)
    alone.fetch(TWEETFEED, DAYS)
    assert_same(lakes[0].tables("tweetfeed"), alone.tables("tweetfeed"))
    fetched = lakes[0].sql("SELECT count(*), count(folded_at) FROM ops.fetches WHERE parsed >= 0")
    assert fetched.row(0)[0] == fetched.row(0)[1]


def test_the_key_of_the_bucket_shows_nowhere(
    make_lake: MakeLake,
    played: Simulator,
    bucket: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    lake = on_s3(make_lake, played, bucket, "secret")
    with caplog.at_level(logging.DEBUG, logger="intel_assets"):
        lake.fetch(TWEETFEED, DAYS[-2:])
    assert "canary-of-s3" not in caplog.text + repr(lake.engine.settings)
