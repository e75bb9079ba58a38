"""OTX: pulses in pages, and what becomes of a pass that breaks off."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intel_assets.errors import ParseError, Unauthorized
from intel_assets.ingest.documents import Document, Window
from intel_assets.ingest.messages import Request
from intel_assets.lakehouse.knowledge import digests
from intel_assets.simulator.server import Simulator
from intel_assets.threat import otx
from intel_assets.threat.otx import SPEC
from intel_assets_tests.conftest import NOON, UNHURRIED, MakeLake, TestLake
from intel_assets_tests.unit.sources.fetches import fetch
from intel_assets_tests.unit.threat.given import cleaned

QUICK = replace(SPEC, policy=replace(UNHURRIED, attempts=1))
DAYS = [NOON.date() - timedelta(days=n) for n in range(9, -1, -1)]
TODAY = [NOON.date()]
SUBSCRIBED = "/api/v1/pulses/subscribed"


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten days of pulses are more than seven pages then."""
    monkeypatch.setattr(otx, "PAGE", 3)


def test_the_recorded_pulses_are_read_whole(samples: Path):
    found = cleaned(SPEC, samples / "threat/otx/intelmq_test_parser_otx.json")
    assert found.accepted.height + found.quarantine["record_digest"].n_unique() == 95
    assert found.quarantine.height <= 2
    assert found.accepted["pulse_id"].n_unique() == 5
    rocket = found.accepted.filter(pl.col("pulse_name").str.contains("Rocket Kitten"))
    first = rocket.filter(pl.col("indicator_type") == "url").row(0, named=True)
    assert first["indicator"] == "http://107.6.172.54/woolen/"
    assert first["first_seen"] == datetime(2015, 9, 2, 9, 21, 53, 93_000, tzinfo=UTC)
    assert first["tags"][:2] == ["spy kittens", "rocket kitten"]
    # Pulses of 2015 say nothing of sharing, and nothing is made up.
    scopes = dict(found.accepted.group_by("tlp").len().iter_rows())
    assert scopes == {None: 32, "green": 59, "clear": 2}
    assert found.accepted["confidence"].null_count() == found.accepted.height


def test_the_recorded_indicators_with_their_pulse_are_read_whole(samples: Path):
    file = samples / "threat/excerpts/otx_pulses_subscribed_flattened_2023-08-09.ndjson"
    found = cleaned(SPEC, file)
    assert found.quarantine.is_empty()
    assert found.accepted.height == len(file.read_text().splitlines())
    assert "green" in set(found.accepted["tlp"])


def pulse(*indicators: dict[str, object], **given: object) -> dict[str, object]:
    rows = [
        {"id": n, "created": "2026-06-09T10:00:00", "is_active": 1} | one
        for n, one in enumerate(indicators)
    ]
    return {"id": "p", "name": "P", "tlp": "amber", "indicators": rows} | given


def read(folder: Path, *pulses: dict[str, object]) -> list[dict[str, object]]:
    path = folder / "page.json"
    path.write_text(json.dumps({"results": pulses, "next": None}))
    found = cleaned(SPEC, path)
    return [*found.accepted.sort("record_id").iter_rows(named=True)]


@pytest.mark.parametrize(
    ("kind", "value", "indicator", "is_a"),
    [
        ("IPv4", "198.18.0.1", "198.18.0.1", "ipv4"),
        ("IPv4", "2001:db8::1", "2001:db8::1", "ipv6"),
        ("CIDR", "198.18.4.9/24", "198.18.4.0/24", "cidr"),
        ("CIDR", "198.18.4.9/32", "198.18.4.9", "ipv4"),
        ("domain", "http://a.example/x", "http://a.example/x", "url"),
        ("domain", "a[.]example.com", "a.example.com", "hostname"),
        ("hostname", "example.com", "example.com", "domain"),
        ("URI", "/gate.php", "/gate.php", "uri"),
        ("URI", "http://a.example/x", "http://a.example/x", "url"),
        ("FileHash-SHA1", "A" * 40, "a" * 40, "sha1"),
        ("FileHash-IMPHASH", "b" * 32, "b" * 32, "imphash"),
        ("email", "Ann@A.example", "ann@a.example", "email"),
        ("CVE", "cve-2025-4664", "CVE-2025-4664", "cve"),
        ("Mutex", "Local\\x", "Local\\x", "mutex"),
    ],
)
def test_an_indicator_is_what_its_value_shows(
    kind: str, value: str, indicator: str, is_a: str, tmp_path: Path
):
    (row,) = read(tmp_path, pulse({"indicator": value, "type": kind}))
    assert (row["indicator"], row["indicator_type"]) == (indicator, is_a)


def test_a_sharing_scope_is_no_confidence_and_a_private_address_is_flagged(tmp_path: Path):
    rows = read(
        tmp_path,
        pulse(
            {"indicator": "192.168.113.98", "type": "IPv4", "expiration": "2030-01-01T00:00:00"},
            {"indicator": "198.18.0.1", "type": "IPv4", "is_active": 0},
            tlp="white",
            attack_ids=[{"id": "T1059.001"}, "T1566"],
            malware_families=[{"display_name": "Mirai"}],
        ),
    )
    assert [row["reserved"] for row in rows] == [True, False]
    assert [row["detect"] for row in rows] == [True, False]
    assert [row["confidence"] for row in rows] == [None, None]
    assert rows[0]["expires"] == datetime(2030, 1, 1, tzinfo=UTC)
    assert rows[0]["techniques"] == ["T1059.001", "T1566"]
    assert rows[0]["malware"] == "Mirai"
    assert {row["tlp"] for row in rows} == {"clear"}


@pytest.mark.parametrize(
    ("spellings", "scope"),
    [
        ({"tlp": "white"}, "clear"),
        ({"TLP": "White", "tlp": None}, "clear"),
        ({"tlp": "amber", "TLP": ""}, "amber"),
        ({"TLP": "TLP:AMBER+STRICT"}, "amber+strict"),
        ({"tlp": "chartreuse"}, None),
        ({}, None),
    ],
)
def test_the_scope_is_read_in_either_spelling_and_never_made_up(
    spellings: dict[str, object], scope: str | None, tmp_path: Path
):
    told = pulse({"indicator": "198.18.0.1", "type": "IPv4"})
    del told["tlp"]
    (row,) = read(tmp_path, told | spellings)
    assert row["tlp"] == scope


def test_one_indicator_that_says_nothing_is_rejected_alone(tmp_path: Path):
    body = tmp_path / "page.json"
    whole = {"indicator": "198.18.0.1", "type": "IPv4"}
    rows = [whole, {"type": "IPv4"}, whole | {"created": None}, whole | {"type": "Unheard-of"}]
    body.write_text(json.dumps({"results": [pulse(*rows)], "next": None}))
    found = cleaned(SPEC, body)
    assert found.accepted["record_id"].to_list() == ["p/0"]
    assert found.quarantine["record_digest"].n_unique() == 3


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html>Maintenance</html>",
        '{"detail": "Back soon."}',
        '{"results": ["198.18.0.1"]}',
        "[]",
        '{"results": [{"id": "p", "indicators": [{"indicator": "198.18',
    ],
)
@pytest.mark.parametrize("path", ["subscribed", "p/indicators"])
def test_what_is_no_page_is_refused(body: str, path: str, tmp_path: Path):
    file = tmp_path / "page.json"
    file.write_text(body)
    with pytest.raises(ParseError, match="line 1"):
        SPEC.parse(Document(fetch(url=f"{otx.API}/pulses/{path}"), file))
    with pytest.raises(ParseError, match="line 1"):
        cleaned(SPEC, file)


PULSES = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from(["green", "red", None])), min_size=1, max_size=12
)


@settings(max_examples=30, deadline=None)
@given(PULSES, st.lists(st.integers(1, 5), min_size=12, max_size=12))
def test_pages_in_any_split_give_the_same_records(
    drawn: list[tuple[int, str | None]], sizes: list[int]
):
    pulses = [
        pulse(*({"indicator": f"198.18.0.{n}", "type": "IPv4"} for n in range(count)))
        | {"id": f"p{number}", "tlp": tlp}
        for number, (count, tlp) in enumerate(drawn)
    ]

    def parsed(*listed: dict[str, object]) -> list[str]:
        body.write_text(json.dumps({"results": listed}))
        document = Document(fetch(url=f"{otx.API}/pulses/subscribed"), body)
        return digests(SPEC.parse(document).collect()).to_list()

    with TemporaryDirectory() as folder:
        body = Path(folder) / "page.json"
        split: list[str] = []
        rest = iter(pulses)
        for size in sizes:
            split += parsed(*islice(rest, size))
        assert split == parsed(*pulses)


class Reading:
    """A subscription of which pulses go away while it is read."""

    now = NOON

    def __init__(self, folder: Path, pulses: list[str]) -> None:
        self._folder = folder
        self.pulses = pulses
        self.asked: list[int] = []
        self.seen: set[str] = set()

    def secret(self, name: str) -> str:
        return name

    def received(self, request: Request, since: datetime) -> None:
        return None

    def get(self, request: Request, window: Window) -> Document:
        page = int(request.params["page"])
        self.asked.append(page)
        shown = self.pulses[(page - 1) * otx.PAGE : page * otx.PAGE]
        self.seen |= set(shown)
        more = "…" if page * otx.PAGE < len(self.pulses) else None
        results = [{"id": name, "indicators": []} for name in shown]
        path = self._folder / "page.json"
        path.write_text(json.dumps({"results": results, "count": len(self.pulses), "next": more}))
        return Document(fetch(url=request.url), path)


def test_no_pulse_slips_through_where_others_went_away(tmp_path: Path):
    reading = Reading(tmp_path, [f"p{n}" for n in range(9)])
    passing = otx.extract(reading, Window(*DAYS[:1] * 2))  # type: ignore[arg-type]
    next(passing)
    next(passing)
    del reading.pulses[:3]
    documents = list(passing)
    assert reading.asked == [1, 2, 3, 2]
    assert reading.seen >= set(reading.pulses)
    assert documents[-1].fetch.answers_from != documents[-1].fetch.answers_to


def pages(simulator: Simulator) -> list[int]:
    """The pages of pulses that were asked for, in order."""
    return [
        int(one.query.split("page=")[1].split("&")[0])
        for one in simulator.requests
        if one.path == SUBSCRIBED
    ]


def records(lake: TestLake) -> pl.DataFrame:
    """What raw holds now."""
    held = lake.table("raw.otx").filter(pl.col("known_to").is_null())
    return held.select("record_id", "record_digest", "day").sort("record_id")


@pytest.mark.slow
def test_all_pages_come_and_what_a_pulse_loses_is_withdrawn(make_lake: MakeLake, played: Simulator):
    lake = make_lake(played)
    results = lake.fetch(QUICK, DAYS)
    assert {one.state for one in results if one.requested} <= {"complete", "empty"}
    every = list(range(1, max(pages(played)) + 1))
    assert pages(played) == every
    assert len(every) >= 7
    found = lake.table("cleaned.otx")
    assert found["pulse_id"].n_unique() > 15
    # A list that was cut off is asked for whole, and is told of as any other.
    assert max(Counter(found["pulse_id"]).values()) >= 39
    for column in ("tlp", "pulse_name", "tags"):
        assert found[column].null_count() == 0
    # The last page answers for all days, and no other for any.
    answers = "SELECT count(*) FROM ops.fetches WHERE answers_from < answers_to"
    assert lake.sql(answers).item() == 1

    # A second later nothing was modified: nothing is said anew, of the long lists neither.
    before = lake.commits("otx")
    played.clock.advance(1)
    lake.fetch(QUICK, DAYS)
    assert pages(played) == every * 2
    assert lake.commits("otx") == before

    # Two days later some pulses lack an indicator.
    played.clock.advance(2 * 86_400)
    lake.fetch(QUICK, [NOON.date() + timedelta(days=n) for n in range(3)])
    gone = found.join(lake.table("cleaned.otx"), on="record_id", how="anti")
    assert 0 < gone.height < 30
    assert gone["pulse_id"].n_unique() == gone.height


@pytest.mark.slow
def test_a_504_on_page_7_costs_no_page_before_it(
    make_lake: MakeLake, played: Simulator, monkeypatch: pytest.MonkeyPatch
):
    lake = make_lake(played)
    fault = played.faults.add("504", path=SUBSCRIBED, after=6, times=None)
    results = lake.fetch(QUICK, DAYS)
    assert {one.day for one in results if one.state == "failed"} == set(DAYS)
    assert pages(played) == [1, 2, 3, 4, 5, 6, 7]
    came = records(lake)
    assert came.height > 100

    # However often it fails: the last page that came is asked for again, and none before it.
    played.faults.remove(fault)
    played.faults.add("504", path=SUBSCRIBED, after=1)
    lake.fetch(QUICK, DAYS)
    assert pages(played)[7:] == [6, 7]
    assert records(lake).equals(came)

    # Pages that came make no day complete; the whole pass does.
    results = lake.fetch(QUICK, DAYS)
    assert pages(played)[9:] == list(range(6, max(pages(played)) + 1))
    assert {one.state for one in results if one.requested} <= {"complete", "empty"}

    # It is as if nothing had been, and as if pages were larger.
    monkeypatch.setattr(otx, "PAGE", 10)
    whole = make_lake(played, "undisturbed")
    whole.fetch(QUICK, DAYS)
    assert records(lake).equals(records(whole))


def test_a_single_504_is_asked_over_and_nobody_notices(make_lake: MakeLake, played: Simulator):
    patient = replace(SPEC, policy=replace(UNHURRIED, max_wait=0.01))
    played.faults.add("504", path=SUBSCRIBED)
    results = make_lake(played).fetch(patient, TODAY)
    assert [one.state for one in results if one.requested] == ["complete"]
    assert pages(played)[:2] == [1, 1]


def test_without_the_right_key_nothing_is_given(make_lake: MakeLake):
    with Simulator(auth_key="another") as simulator:
        simulator.clock.set(NOON)
        (result,) = make_lake(simulator).fetch(QUICK, TODAY)
    assert isinstance(result.error, Unauthorized)
