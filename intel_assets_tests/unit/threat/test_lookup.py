"""What people paste, and what is found of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from intel_assets.ingest.documents import Window
from intel_assets.lakehouse.catalog import Catalog
from intel_assets.threat.lookup import MOST_URLS, Answer, look_up, recognise, words
from intel_assets_tests.conftest import NOON, MakeLake, TestLake, unhurried
from intel_assets_tests.orchestration.test_sightings import days, made, post, snapshot


@pytest.mark.parametrize(
    ("text", "indicator", "kind"),
    [
        ("198.18.0.1", "198.18.0.1", "ipv4"),
        ("198[.]18[.]0[.]1", "198.18.0.1", "ipv4"),
        ("198.18.0.1:8080", "198.18.0.1", "ipv4"),
        ("[2001:db8::1]:443", "2001:db8::1", "ipv6"),
        ("198.18.4.7/24", "198.18.4.0/24", "cidr"),
        ("hxxps://Evil[.]Example/A", "https://evil.example/A", "url"),
        ("'www.Evil.example',", "www.evil.example", "hostname"),
        ("evil.example:8443", "evil.example", "hostname"),
        ("ann[at]evil.example", "ann@evil.example", "email"),
        ("a/b@evil.example", "a/b@evil.example", "email"),
        ("hxxp://ann@evil[.]example", "http://ann@evil.example/", "url"),
        ("D41D8CD98F00B204E9800998ECF8427E", "d41d8cd98f00b204e9800998ecf8427e", "md5"),
        ("cve-2025-4664", "CVE-2025-4664", "cve"),
        ("hello", None, None),
        ("", None, None),
    ],
)
def test_what_people_paste_is_recognised(text: str, indicator: str | None, kind: str | None):
    found = recognise(text)
    assert (found.indicator, found.kind) == (indicator, kind)


def test_text_is_divided_into_what_may_be_indicators():
    text = 'Blocked "198.18.0.1", <evil.example>.\n198.18.0.1; hxxp://a[.]example/x?y=1'
    assert words(text) == ["Blocked", "198.18.0.1", "evil.example", "hxxp://a[.]example/x?y=1"]


@pytest.fixture
def lake(make_lake: MakeLake, tmp_path: Path) -> TestLake:
    lake = make_lake(clock=lambda: NOON)
    every = days(17, 18, 19, 20)
    for number, day in enumerate(every):
        other = () if number == 2 else ("198.18.0.2",)
        snapshot(lake, tmp_path, "ipsum", day, "198.18.4.0/24", "evil.example", *other)
    post(lake, tmp_path, every[0], "198.18.0.2")
    made(lake, *every)
    return lake


def asked(lake: TestLake, text: str, **how: bool) -> Answer:
    layout = lake.engine.settings.layout
    with Catalog(layout, clock=lambda: NOON).connect() as connection:
        return look_up(connection, text, **how)


@pytest.mark.slow
def test_every_feed_and_stretch_is_told(lake: TestLake):
    one, two, three, four = days(17, 18, 19, 20)
    (hit,) = asked(lake, "198.18.0[.]2").hits
    assert hit.facts["sources"] == ["ipsum", "tweetfeed"]
    assert [tuple(row.values()) for row in hit.timeline] == [
        ("ipsum", one, four, 3, None),
        ("tweetfeed", one, one, 1, None),
    ]
    (hit,) = asked(lake, "198.18.0[.]2", stretches=True).hits
    assert [tuple(row.values()) for row in hit.timeline] == [
        ("ipsum", one, two, 2, three),
        ("tweetfeed", one, one, 1, None),
        ("ipsum", four, four, 1, None),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "found", "relation"),
    [
        ("198.18.4.77", "198.18.4.0/24", "range"),
        ("198.18.4.0/26", "198.18.4.0/24", "range"),
        ("198.18.4.0/24", "198.18.4.0/24", "itself"),
        ("a.b.evil.example", "evil.example", "parent"),
        ("http://evil.example/x", "evil.example", "host"),
        ("http://www.evil.example/x", "evil.example", "parent"),
        ("http://198.18.4.9/x", "198.18.4.0/24", "range"),
    ],
)
def test_what_a_value_lies_in_is_a_hit_and_says_so(
    lake: TestLake, text: str, found: str, relation: str
):
    (hit,) = asked(lake, text).hits
    assert (hit.facts["indicator"], hit.relation) == (found, relation)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["198.18.5.1", "evil.example.org", "notevil.example", "x"])
def test_what_nobody_tells_of_is_no_hit(lake: TestLake, text: str):
    assert asked(lake, text).hits == []


@pytest.mark.slow
def test_of_a_host_the_surest_urls_at_it_are_told_and_the_others_counted(
    make_lake: MakeLake, tmp_path: Path
):
    lake = make_lake(clock=lambda: NOON)
    (day,) = days(20)
    urls = [f"http://bad.example/{number}" for number in range(MOST_URLS + 3)]
    told = [("domain", "bad.example"), *(("url", url) for url in [*urls, "http://a.bad.example/"])]
    path = tmp_path / "feed.csv"
    rest = "#c2,https://x.com/ann/status/1"
    path.write_text("".join(f"{day} 10:00:00,ann,{kind},{one},{rest}\n" for kind, one in told))
    lake.land(unhurried("tweetfeed"), {path: Window(day, day)}, NOON)
    made(lake, day)
    answer = asked(lake, "bad[.]example")
    assert [hit.relation for hit in answer.hits] == ["itself", *["url"] * MOST_URLS]
    assert {hit.facts["indicator"] for hit in answer.hits[1:]} < set(urls)
    assert answer.more_urls == 3
    assert all(hit.timeline for hit in answer.hits)
