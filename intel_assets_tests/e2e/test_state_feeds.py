"""State feeds the whole way: each day a snapshot of its own, and no past to ask for."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from intel_assets.errors import NoLongerAvailable, ParseError
from intel_assets.ingest.documents import Window
from intel_assets.ingest.messages import Request
from intel_assets.lakehouse.ops import Journal
from intel_assets.simulator.plain_lists import LISTS
from intel_assets.simulator.plain_lists_world import PlainListWorld
from intel_assets.simulator.server import Simulator
from intel_assets_tests.conftest import (
    NOON,
    SEED,
    VOLUME,
    MakeLake,
    TestLake,
    assert_same,
    unhurried,
)

pytestmark = pytest.mark.xdist_group("state_feeds")

IPSUM, THREATFOX_IPS = unhurried("ipsum"), unhurried("threatfox_ips")
WORLD = PlainListWorld(LISTS[0], SEED, VOLUME)
TODAY = NOON.date()
YESTERDAY, TOMORROW = TODAY - timedelta(days=1), TODAY + timedelta(days=1)


def addresses(lake: TestLake, day: date, **moment: datetime) -> set[str]:
    frame = lake.table("cleaned.ipsum", **moment)
    return set(frame.filter(pl.col("day") == day)["indicator"])


def published(now: datetime) -> set[str]:
    return {one.address for one in WORLD.entries(WORLD.made(now))}


def write(folder: Path, *lines: str) -> Path:
    file = folder / "plain.txt"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def states(lake: TestLake) -> Mapping[tuple[date, str], str]:
    rows = Journal(lake.engine.settings.layout, "ipsum").partitions([YESTERDAY, TODAY, TOMORROW])
    return {(r["day"], r["layer"]): r["state"] for r in rows.iter_rows(named=True)}


@pytest.mark.slow
def test_each_day_is_the_whole_snapshot_of_that_day(make_lake: MakeLake, played: Simulator) -> None:
    lake = make_lake(played)
    for day in (TODAY, TOMORROW):
        (result,) = lake.fetch(IPSUM, [day])
        assert (result.day, result.state) == (day, "complete")
        played.clock.advance(86_400)
    assert addresses(lake, TODAY) == published(NOON)
    assert addresses(lake, TOMORROW) == published(NOON + timedelta(days=1)) != published(NOON)
    numbers = lake.table("aggregated.ipsum_daily")
    assert numbers["entries"].to_list() == [len(addresses(lake, d)) for d in (TODAY, TOMORROW)]
    assert (
        numbers["highest_score"].to_list()
        == lake.sql("SELECT max(score) AS s FROM cleaned.ipsum GROUP BY day ORDER BY day")[
            "s"
        ].to_list()
    )


@pytest.mark.slow
def test_what_a_later_snapshot_of_the_day_lacks_is_withdrawn_from_that_day(
    make_lake: MakeLake, played: Simulator
) -> None:
    lake = make_lake(played)
    midnight = datetime(2026, 6, 10, 0, 30, tzinfo=UTC)  # before the day's list is made
    played.clock.set(midnight)
    lake.fetch(IPSUM, [TODAY])
    early = published(midnight)
    played.clock.set(NOON)
    lake.fetch(IPSUM, [TODAY])
    late = published(NOON)
    assert addresses(lake, TODAY) == late
    assert addresses(lake, TODAY, as_of=NOON - timedelta(hours=1)) == early
    gone = lake.table("cleaned.ipsum", history=True).filter(pl.col("known_to").is_not_null())
    assert set(gone["indicator"]) >= early - late
    assert gone["known_to"].unique().to_list() == [NOON]
    told = lake.sql("FROM ops.fetches ORDER BY received_at").row(1, named=True)
    assert told["withdrawn"] == len(early - late) > 0
    assert told["parsed"] == sum(told[n] for n in ("added", "changed", "unchanged", "duplicates"))


@pytest.mark.slow
def test_a_body_that_is_unchanged_on_a_new_day_is_that_days_whole_snapshot(
    make_lake: MakeLake, played: Simulator
) -> None:
    lake = make_lake(played)
    lake.fetch(IPSUM, [TODAY])
    after_midnight = datetime(2026, 6, 11, 0, 30, tzinfo=UTC)
    played.clock.set(after_midnight)
    (result,) = lake.fetch(IPSUM, [TOMORROW])
    assert (result.day, result.state) == (TOMORROW, "complete")

    outcomes = lake.sql("SELECT outcome, bytes FROM ops.fetches ORDER BY received_at")
    assert outcomes["outcome"].to_list() == ["fetched", "not_modified"]
    assert outcomes["bytes"].to_list()[1] == 0
    assert addresses(lake, TOMORROW) == addresses(lake, TODAY) == published(NOON)
    known = lake.table("raw.ipsum").group_by("day").agg(pl.col("known_from").unique())
    assert dict(known.iter_rows()) == {TODAY: [NOON], TOMORROW: [after_midnight]}
    assert addresses(lake, TOMORROW, as_of=NOON) == set()

    # Built again from landing, both days are what they were.
    before = lake.tables("ipsum")
    lake.replay(IPSUM, [TODAY, TOMORROW])
    assert_same(lake.tables("ipsum"), before)


@pytest.mark.slow
def test_asking_again_on_the_same_day_for_an_unchanged_body_commits_nothing(
    make_lake: MakeLake, played: Simulator
) -> None:
    lake = make_lake(played)
    lake.fetch(IPSUM, [TODAY])
    before, commits = lake.tables("ipsum"), lake.commits("ipsum")
    for _ in range(3):
        played.clock.advance(900)
        (result,) = lake.fetch(IPSUM, [TODAY])
        assert result.state == "complete"
    assert lake.commits("ipsum") == commits
    assert_same(lake.tables("ipsum"), before)
    outcomes = lake.sql("SELECT outcome FROM ops.fetches ORDER BY received_at")["outcome"]
    assert outcomes.to_list() == ["fetched"] + ["not_modified"] * 3


@pytest.mark.slow
def test_a_snapshot_that_returns_to_an_older_body_is_that_body(
    make_lake: MakeLake, tmp_path: Path
) -> None:
    lake = make_lake()
    one = write(tmp_path, "192.0.2.1", "192.0.2.2").rename(tmp_path / "one.txt")
    two = write(tmp_path, "192.0.2.1", "192.0.2.3").rename(tmp_path / "two.txt")
    for hour, file in enumerate((one, two, one)):
        lake.land(IPSUM, {file: None}, NOON + timedelta(hours=hour))
    assert addresses(lake, TODAY) == {"192.0.2.1", "192.0.2.2"}
    assert addresses(lake, TODAY, as_of=NOON + timedelta(hours=1)) == {"192.0.2.1", "192.0.2.3"}


@pytest.mark.slow
def test_snapshots_landed_in_any_order_give_the_same_days(
    make_lake: MakeLake, tmp_path: Path
) -> None:
    files = [
        write(tmp_path, *(f"192.0.2.{n + i}" for i in range(5))).rename(tmp_path / f"{n}.txt")
        for n in range(3)
    ]
    moments = [NOON + timedelta(hours=9 * n) for n in range(3)]
    orders = [(0, 1, 2), (2, 0, 1)]
    found = []
    for number, order in enumerate(orders):
        lake = make_lake(name=f"lake{number}")
        for n in order:
            lake.land(IPSUM, {files[n]: None}, moments[n])
        found.append(lake.tables("ipsum") | {"history": lake.table("raw.ipsum", history=True)})
    assert_same(found[1], found[0])


def test_a_past_day_is_refused_without_a_request_and_nothing_is_recorded_of_it(
    make_lake: MakeLake, played: Simulator
) -> None:
    lake = make_lake(played)
    played.clock.advance(-86_400)
    lake.fetch(IPSUM, [YESTERDAY])
    played.clock.advance(86_400)
    asked = len(played.requests)
    results = {r.day: r for r in lake.fetch(IPSUM, [YESTERDAY, TODAY, TOMORROW])}
    assert len(played.requests) == asked + 1
    assert results[TODAY].state == "complete"
    for day in (YESTERDAY, TOMORROW):
        assert results[day].state == "failed"
        assert isinstance(results[day].error, NoLongerAvailable)
        assert results[day].exit_code == 4
    assert "a state feed: what it held that day is lost" in (results[YESTERDAY].message or "")
    # What yesterday holds stands, and nobody says that it failed.
    assert states(lake)[YESTERDAY, "raw"] == "complete"
    assert (TOMORROW, "raw") not in states(lake)


def test_a_body_that_comes_after_midnight_is_the_next_days(
    make_lake: MakeLake, played: Simulator
) -> None:
    played.clock.set(datetime(2026, 6, 10, 23, 59, 59, 900_000, tzinfo=UTC))
    moments = iter([played.clock()] * 2)

    def clock() -> datetime:
        # Until the request is made it is before midnight.
        return next(moments, datetime(2026, 6, 11, 0, 0, 1, tzinfo=UTC))

    lake = make_lake(played, clock=clock)
    results = {result.day: result for result in lake.fetch(IPSUM, [TODAY])}
    assert {day: r.state for day, r in results.items()} == {
        TODAY: "not_covered",
        TOMORROW: "complete",
    }
    assert addresses(lake, TODAY) == set()
    assert addresses(lake, TOMORROW)


@pytest.mark.slow
def test_a_file_is_landed_as_the_snapshot_of_the_day_that_it_is_said_to_be(
    make_lake: MakeLake, tmp_path: Path
) -> None:
    lake = make_lake()
    file = write(tmp_path, "192.0.2.1\t4", "nonsense here")
    (result,) = lake.land(IPSUM, {file: Window(YESTERDAY, YESTERDAY)}, NOON)
    assert (result.day, result.state, result.rejected) == (YESTERDAY, "complete", 1)
    assert lake.table("raw.ipsum")["known_from"].unique().to_list() == [NOON]
    assert addresses(lake, YESTERDAY, as_of=NOON - timedelta(hours=1)) == set()
    assert lake.table("cleaned.ipsum").select("indicator", "score").rows() == [("192.0.2.1", 4)]
    assert lake.table("quarantine.ipsum")["value"].to_list() == ["nonsense here"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["empty", "wrong_content_type"])
def test_a_list_that_is_suddenly_empty_or_a_page_withdraws_nothing(
    kind: str, make_lake: MakeLake, played: Simulator
) -> None:
    lake = make_lake(played)
    lake.fetch(IPSUM, [TODAY])
    before = lake.tables("ipsum")
    played.clock.advance(86_400)
    played.clock.advance(-3600 * 3)  # the same list, asked on the next day before it is made
    played.faults.add(kind, path="ipsum.txt", times=None)
    (result,) = lake.fetch(IPSUM, [played.clock().date()])
    assert result.state == "failed"
    assert isinstance(result.error, ParseError)
    assert_same(lake.tables("ipsum"), before)
    played.faults.clear()
    (result,) = lake.fetch(IPSUM, [played.clock().date()])
    assert result.state == "complete"


# -- recorded real data --------------------------------------------------------------------------


@pytest.fixture
def recorded_days(samples: Path) -> dict[date, Path]:
    files = sorted((samples / "threat" / "threatfox_ips_daily").glob("20*"))
    return {date.fromisoformat(file.name[:10]): file for file in files}


def lines(file: Path) -> list[str]:
    """Read a recorded list with the standard library alone."""
    body = file.read_bytes()
    text = (gzip.decompress(body) if file.suffix == ".gz" else body).decode()
    return [line.strip() for line in text.splitlines() if line.strip()]


def day_by_day(spec, address: str):
    """Return a source that asks for a file of each day, as the recordings have them."""

    def extract(context, window):
        yield context.get(Request(address.format(day=window.first)), window)

    return replace(spec, extract=extract)


def assert_every_row_is_accounted_for(lake: TestLake, source: str) -> None:
    raw, tables = lake.table(f"raw.{source}"), lake.tables(source)
    good = tables[f"cleaned.{source}"].select("day", "record_digest")
    empty = raw.clear().select("day", "record_digest")
    bad = tables.get(f"quarantine.{source}", empty).select("day", "record_digest").unique()
    assert raw.height == good.height + bad.height
    assert raw.join(pl.concat([good, bad]), on=["day", "record_digest"], how="anti").is_empty()
    bodies = lake.sql("FROM ops.fetches").filter(pl.col("parsed").is_not_null())
    sums = pl.sum_horizontal("added", "changed", "unchanged", "duplicates")
    assert bodies.filter(pl.col("parsed") != sums).is_empty()


@pytest.mark.slow
def test_every_recorded_day_of_an_address_list_arrives_over_http(
    make_lake: MakeLake, recorded_days: dict[date, Path], samples: Path
) -> None:
    spec = day_by_day(THREATFOX_IPS, "https://lists.example/{day}.txt")
    failed: dict[date, list[str]] = {}
    with Simulator(recordings=samples / "threat" / "threatfox_ips_daily") as recorded:
        lake = make_lake(recorded)
        for day in recorded_days:
            recorded.clock.set(datetime(day.year, day.month, day.day, 23, 16, tzinfo=UTC))
            (result,) = lake.fetch(spec, [day])
            assert (result.day, result.state) == (day, "complete")
            failed |= {day: bad} if (bad := [c.name for c in result.checks if not c.passed]) else {}

    # The collapse fails on its day alone: not on the day after, and ordinary churn never does.
    assert failed == {date(2025, 5, 1): ["volume"]}
    told = lake.sql("FROM ops.checks WHERE NOT passed").row(0, named=True)
    assert (told["day"], told["name"], told["severity"]) == (date(2025, 5, 1), "volume", "warn")
    assert told["value"] / told["usual"] == pytest.approx(27_174 / 135_937, rel=1e-4)

    expected = {day: set(lines(file)) for day, file in recorded_days.items()}
    found = lake.sql("SELECT day, list(indicator) AS l FROM cleaned.threatfox_ips GROUP BY day")
    assert {day: set(one) for day, one in found.iter_rows()} == expected
    counted = dict(
        pl.read_csv(
            samples / "threat" / "threatfox_ips_daily" / "_all_days_line_counts.csv",
            try_parse_dates=True,
        )
        .select("day", "lines")
        .iter_rows()
    )
    numbers = lake.table("aggregated.threatfox_ips_daily")
    for row in numbers.iter_rows(named=True):
        # They counted line ends, and most of the lists end without one.
        assert row["entries"] - counted[row["day"]] in (0, 1)
        assert row["entries"] == row["addresses"] == len(expected[row["day"]])
    assert numbers["entries"].sum() == lake.table("raw.threatfox_ips").height
    assert_every_row_is_accounted_for(lake, "threatfox_ips")


@pytest.mark.slow
def test_a_recorded_collapse_is_seen_on_its_day_and_not_on_the_next(
    make_lake: MakeLake, recorded_days: dict[date, Path]
) -> None:
    lake = make_lake()
    verdicts = {}
    for day in (date(2025, 4, 30), date(2025, 5, 1), date(2025, 5, 2)):
        at = datetime(day.year, day.month, day.day, 23, tzinfo=UTC)
        (result,) = lake.land(THREATFOX_IPS, {recorded_days[day]: None}, at)
        (check,) = (c for c in result.checks if c.name == "volume")
        verdicts[day.isoformat()] = (check.passed, check.value, check.usual)
        assert check.severity == "warn"
    assert verdicts == {
        "2025-04-30": (True, 135_938, None),
        "2025-05-01": (False, 27_175, 135_938),
        "2025-05-02": (True, 27_286, 27_175),
    }


@pytest.mark.slow
def test_a_recorded_ipsum_arrives_with_its_numbers(make_lake: MakeLake, samples: Path) -> None:
    lake = make_lake()
    file = samples / "threat" / "ip_reputation" / "ipsum_2026-08-22.txt.gz"
    (result,) = lake.land(IPSUM, {file: None}, datetime(2026, 8, 22, 12, tzinfo=UTC))
    rows = [line.split("\t") for line in lines(file) if not line.startswith("#")]
    assert (result.state, result.rejected, len(rows)) == ("complete", 0, 120_430)
    found = lake.sql("SELECT raw_value, score FROM cleaned.ipsum")
    assert dict(found.iter_rows()) == {address: int(score) for address, score in rows}
    assert lake.table("aggregated.ipsum_daily")["highest_score"].to_list() == [10]
    assert_every_row_is_accounted_for(lake, "ipsum")


def test_a_recorded_list_of_other_columns_is_refused_and_kept(
    make_lake: MakeLake, samples: Path
) -> None:
    lake = make_lake()
    file = samples / "threat" / "ip_reputation" / "blackbook_domains_2024-09-01.csv"
    (result,) = lake.land(IPSUM, {file: None}, NOON)
    assert result.state == "failed"
    assert "it begins with: Domain,Malware,Date added,Source" in (result.message or "")
    row = lake.sql("FROM ops.fetches").row(0, named=True)
    with lake.engine.lake.landing.open(row["body_sha256"]) as evidence:
        assert evidence.read_bytes() == file.read_bytes()
