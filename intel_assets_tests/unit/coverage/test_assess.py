"""An assessment over a real lake: what is read, what is remembered, and what a quota leaves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from intel_assets.coverage.assess import (
    Assessment,
    assess,
    of_a_tick,
    quota_left,
    quota_used,
    record,
    record_attempts,
)
from intel_assets.coverage.plan import Limits, plan
from intel_assets.coverage.states import RUNNING
from intel_assets.coverage.tables import ATTEMPTS, COVERAGE
from intel_assets.lakehouse.contracts import INSTANT
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.ops import CHECKS, FETCHES, PARTITIONS
from intel_assets.lakehouse.tables import Table
from intel_assets.sources.spec import Quota, SourceSpec
from intel_assets.threat.plain_lists import IPSUM
from intel_assets_tests.unit.coverage.given import (
    DAYS,
    HOUR,
    MINUTE,
    NOON,
    TODAY,
    ago,
    at,
    fetch,
    fetches,
    partitions,
    spec,
    whole,
)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "lake"))


def look(layout: Layout, now: datetime, *specs: SourceSpec, **given: Any) -> Assessment:
    return assess(layout, specs or [spec()], now, off={}, since=ago(3), **given)


def note(layout: Layout, contract: Any, rows: pl.DataFrame) -> None:
    Table(layout, contract).append(contract.conform(rows), {"source": "test"})


def running(first: date, last: date) -> pl.DataFrame:
    return pl.DataFrame([("feed", first, last)], schema=RUNNING, orient="row")


def told(found: Assessment) -> list[tuple[str, datetime]]:
    return list(found.states.select("state", "since").iter_rows())


def rows_of(layout: Layout) -> int:
    return Table(layout, COVERAGE).read().height


def test_a_lake_that_nobody_wrote_to_yet_lacks_everything(layout: Layout) -> None:
    found = look(layout, NOON)
    assert told(found) == [("missing", NOON)] * 3 + [("not_due", NOON)]
    assert found.probe_at == {}


def test_what_stays_as_it_is_is_written_once(layout: Layout) -> None:
    assert record(layout, look(layout, NOON)) == 4
    assert record(layout, look(layout, NOON + HOUR)) == 0
    assert rows_of(layout) == 4


def test_since_when_a_day_has_stood_so_is_remembered(layout: Layout) -> None:
    record(layout, look(layout, NOON))
    first = look(layout, NOON + HOUR, running=running(ago(3), ago(2)))
    assert told(first)[1:3] == [("filling", NOON + HOUR), ("missing", NOON)]
    assert record(layout, first) == 2
    again = look(layout, NOON + 2 * HOUR)
    assert told(again)[1:3] == [("missing", NOON + 2 * HOUR), ("missing", NOON)]


def test_a_change_of_the_reason_is_written_and_since_stays(layout: Layout) -> None:
    record(layout, look(layout, NOON))
    (ask,) = plan(look(layout, NOON).states, [spec()], Limits(), NOON).asks
    record_attempts(layout, {"key": ask}, NOON)
    found = look(layout, NOON + HOUR)
    assert found.states["reason"].to_list()[:3] == ["asked once"] * 3
    assert record(layout, found) == 3
    assert told(found)[0] == ("missing", NOON)


def test_what_is_planned_is_known_before_it_runs_and_is_not_planned_again(layout: Layout) -> None:
    (ask,) = plan(look(layout, NOON).states, [spec()], Limits(), NOON).asks
    assert (ask.first, ask.last) == (ago(3), ago(1))
    record_attempts(layout, {"feed:1": ask}, NOON)
    (row,) = Table(layout, ATTEMPTS).read().rows(named=True)
    assert (row["run_key"], row["requests"], row["attempt"]) == ("feed:1", 3, 1)
    later = look(layout, NOON + 14 * MINUTE)
    assert plan(later.states, [spec()], Limits(), later.now).asks == ()
    later = look(layout, NOON + 15 * MINUTE)
    (again,) = plan(later.states, [spec()], Limits(), later.now).asks
    assert again.attempt == 2
    record_attempts(layout, {}, NOON)
    assert Table(layout, ATTEMPTS).read().height == 1


def hold(layout: Layout, day: date, *, folders: Sequence[str]) -> None:
    """A day that was fetched and recorded, with the folders of some of its tables."""
    note(layout, FETCHES, fetches(fetch(1, day, NOON - HOUR)))
    note(layout, PARTITIONS, partitions(*whole(day, name="feed")))
    one = spec().raw
    frame = one.conform(pl.DataFrame({"day": [day]}))
    Table(layout, one).append(frame, {})
    for folder in folders:
        (Path(layout.base) / folder / f"day={day}").mkdir(parents=True)


def test_a_day_is_there_when_its_log_and_its_folders_are(layout: Layout) -> None:
    hold(
        layout, ago(2), folders=["cleaned/tweetfeed", "aggregated/tweetfeed_daily"]
    )  # raw has its own
    found = look(layout, NOON)
    assert set(found.evidence.present["layer"]) == {"raw", "cleaned", "aggregated"}
    assert found.evidence.present["day"].unique().to_list() == [ago(2)]


def test_a_folder_that_raws_log_does_not_know_holds_nothing(layout: Layout) -> None:
    hold(layout, ago(2), folders=[])
    (Path(layout.base) / "raw/tweetfeed" / f"day={ago(1)}").mkdir()
    (Path(layout.base) / "raw/tweetfeed" / "day=__HIVE_DEFAULT_PARTITION__").mkdir()
    found = look(layout, NOON)
    assert found.evidence.present["day"].to_list() == [ago(2)]


def test_a_check_that_failed_counts_until_it_passes(layout: Layout) -> None:
    def outcome(day: int, name: str, passed: bool, hours: int) -> dict[str, Any]:
        row = {"source": "feed", "day": ago(day), "layer": "raw", "name": name, "passed": passed}
        return row | {"description": f"{name} {hours}", "recorded_at": NOON + hours * HOUR}

    rows = [
        outcome(3, "volume", False, 1),
        outcome(3, "volume", False, 2),
        outcome(2, "volume", False, 1),
        outcome(2, "volume", True, 2),
        outcome(1, "volume", True, 1),
        outcome(1, "volume", False, 2),
        outcome(1, "contract", False, 2),
    ]
    note(layout, CHECKS, pl.DataFrame(rows).cast({"recorded_at": INSTANT}))
    found = look(layout, NOON).evidence.checks.sort("day")
    assert found.select("day", "description").rows() == [
        (ago(3), "volume 2"),
        (ago(1), "volume 2"),
    ]


def test_a_request_is_known_by_its_row_with_counts_else_by_its_newest(layout: Layout) -> None:
    came = fetch(1, ago(1), NOON, folded_at=None)
    folded = came | {"folded_at": NOON + HOUR, "recorded_at": NOON + HOUR}
    again = came | {"outcome": "failed", "recorded_at": NOON + 2 * HOUR}
    waits = fetch(2, ago(1), NOON, folded_at=None)
    failed = waits | {"outcome": "failed", "recorded_at": NOON + HOUR}
    note(layout, FETCHES, fetches(came, folded, again, failed, waits))
    found = look(layout, NOON + DAYS).evidence.fetches
    assert sorted(found.select("outcome", "folded_at").rows(), key=str) == [
        ("failed", None),
        ("fetched", NOON + HOUR),
    ]


def test_many_sources_are_judged_as_each_alone(layout: Layout) -> None:
    specs = [spec(f"feed_{n:02}", look_back_days=None if n % 2 else 9) for n in range(20)]
    rows = [fetch(n, ago(n % 3), NOON, source=one.name) for n, one in enumerate(specs)]
    note(layout, FETCHES, fetches(*rows))
    found = look(layout, NOON, *reversed(specs))
    alone = [look(layout, NOON, one) for one in specs]
    assert found.states.equals(pl.concat([one.states for one in alone]))
    assert found.health.equals(pl.concat([one.health for one in alone]))
    assert found.evidence.fetches.height == 20


# -- quota ------------------------------------------------------------------------------------


def asked(*moments: datetime, each: int = 1) -> pl.DataFrame:
    return fetches(*(fetch(n, TODAY, moment, attempts=each) for n, moment in enumerate(moments)))


def test_a_quota_counts_requests_and_not_answers_since_its_period_began() -> None:
    journal = asked(at(ago(1), 23.9), at(TODAY), NOON, each=3)
    daily, monthly = spec(quota=Quota(100)), spec(quota=Quota(1000, "month"))
    assert quota_used(journal, [daily], NOON).rows() == [("feed", TODAY, 6, 100)]
    assert quota_used(journal, [monthly], NOON).rows() == [("feed", date(2026, 11, 1), 9, 1000)]
    assert quota_used(journal, [spec()], NOON).is_empty()


def test_room_is_kept_for_the_ticks_until_the_quota_is_renewed() -> None:
    # From 12:00 on there are 11 ticks at 13:05 to 23:05 and one at 12:05, with 2 requests each.
    hourly = spec(quota=Quota(100), cadence="5 * * * *", late_days=1)
    assert quota_left(asked(), [hourly], NOON) == {"feed": 100 - 24}
    assert quota_left(asked(NOON, each=70), [hourly], NOON) == {"feed": 6}
    assert quota_left(asked(NOON, each=90), [hourly], NOON) == {"feed": 0}


def test_at_most_half_of_a_quota_is_kept_for_the_ticks() -> None:
    often = spec(quota=Quota(40), cadence="*/5 * * * *")
    assert quota_left(asked(), [often], NOON) == {"feed": 20}


def test_a_quota_of_a_month_keeps_room_until_the_months_end() -> None:
    daily = spec(quota=Quota(500, "month"), cadence="0 6 * * *", late_days=0)
    assert quota_left(asked(), [daily], NOON) == {"feed": 500 - 10}  # 21 to 30 November
    december = datetime(2026, 12, 31, 12, tzinfo=UTC)
    assert quota_left(asked(), [daily], december) == {"feed": 500}


def test_a_tick_makes_as_many_requests_as_its_days_need() -> None:
    assert of_a_tick(spec(late_days=1)) == 2
    assert of_a_tick(spec(late_days=0)) == 1
    assert of_a_tick(spec(late_days=6, window_days=30)) == 1
    assert of_a_tick(IPSUM) == 1


def test_a_source_that_fails_is_to_be_probed_and_others_are_not(layout: Layout) -> None:
    rows = [
        fetch(1, ago(1), NOON - MINUTE, outcome="failed"),
        fetch(2, ago(1), NOON - MINUTE, source="two"),
    ]
    note(layout, FETCHES, fetches(*rows))
    found = look(layout, NOON, spec(), spec("two"))
    assert found.probe_at == {"feed": NOON + 4 * MINUTE}
    assert found.evidence.fetches.height == 2


def test_raws_log_is_read_unless_a_run_recorded_the_version_that_it_has(layout: Layout) -> None:
    hold(layout, ago(2), folders=[])
    note(layout, PARTITIONS, partitions(*whole(ago(1))).with_columns(delta_version=pl.lit(1)))
    (Path(layout.base) / "raw/tweetfeed" / f"day={ago(1)}").mkdir()
    # Nobody has written since a run said what it holds: its folders can be believed.
    assert look(layout, NOON).evidence.present["day"].sort().to_list() == [ago(2), ago(1)]
    Table(layout, spec().raw).append(spec().raw.conform(pl.DataFrame({"day": [ago(2)]})), {})
    assert look(layout, NOON).evidence.present["day"].to_list() == [ago(2)]
