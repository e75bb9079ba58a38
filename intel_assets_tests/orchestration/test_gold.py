"""Gold follows its sources: rebuilt where something changed, and only there."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl
import pytest

from intel_assets.definitions import build_definitions
from intel_assets.lakehouse.tables import Table
from intel_assets.settings import Settings
from intel_assets.simulator.server import Simulator
from intel_assets.sources import registry
from intel_assets.sources.gold import GoldSpec, build
from intel_assets.threat.gold import feeds, gold
from intel_assets_tests.conftest import MakeLake, TestLake, unhurried

DAYS = [date(2026, 6, 1) + timedelta(days=n) for n in range(9)]
TODAY = date(2026, 6, 10)


@pytest.fixture
def feeds_daily() -> GoldSpec:
    return gold()[0]


@pytest.fixture
def lake(played: Simulator, make_lake: MakeLake) -> TestLake:
    lake = make_lake(played)
    lake.fetch(unhurried("urlhaus"), DAYS)
    lake.fetch(unhurried("tweetfeed"), DAYS)
    lake.fetch(unhurried("ipsum"), [TODAY])
    return lake


def _stands(lake: TestLake, spec: GoldSpec) -> pl.DataFrame:
    return Table(lake.engine.lake.layout, spec.contract).read().sort(pl.all())


def test_gold_follows_every_feed_that_tells_by_itself(feeds_daily: GoldSpec):
    telling = {spec.name for spec in feeds() if spec.kind != "lookup"}
    assert telling
    assert all(set(spec.sources) == telling for spec in gold() if spec.grain == "day")


@pytest.mark.slow
def test_gold_counts_what_the_cleaned_tables_hold(lake: TestLake, feeds_daily: GoldSpec):
    list(build(lake.engine.lake, feeds_daily, [*DAYS, TODAY], "run"))
    found = lake.sql(
        "SELECT feed, sum(records)::BIGINT AS n FROM aggregated.feeds_daily GROUP BY ALL"
    )
    expected = {
        name: lake.sql(f"SELECT count(*) AS n FROM cleaned.{name} WHERE day >= '2026-06-01'").item()
        for name in ("urlhaus", "tweetfeed", "ipsum")
    }
    outside = lake.sql("SELECT count(*) FROM cleaned.urlhaus WHERE day < '2026-06-01'").item()
    assert outside  # The dump brought older days too; they were not asked for.
    assert dict(found.iter_rows()) == expected


def test_gold_without_any_of_its_sources_is_an_empty_day(
    played: Simulator, make_lake: MakeLake, feeds_daily: GoldSpec
):
    lake = make_lake(played)
    (result,) = build(lake.engine.lake, feeds_daily, [TODAY], "run")
    assert (result.rows, result.written) == (0, False)


@pytest.mark.slow
def test_building_gold_again_writes_nothing(lake: TestLake, feeds_daily: GoldSpec):
    first = list(build(lake.engine.lake, feeds_daily, DAYS, "run"))
    again = list(build(lake.engine.lake, feeds_daily, DAYS, "again"))
    assert all(result.written for result in first)
    assert not any(result.written for result in again)
    assert [r.data_version for r in first] == [r.data_version for r in again]
    assert again[0].delta_version == first[0].delta_version


@pytest.mark.slow
def test_only_the_days_that_changed_are_written(
    lake: TestLake, feeds_daily: GoldSpec, played: Simulator
):
    before = {
        r.data_version: d
        for d, r in zip(DAYS, build(lake.engine.lake, feeds_daily, DAYS, "a"), strict=True)
    }
    played.clock.advance(36 * 3600)
    changed = {
        result.day
        for result in lake.fetch(unhurried("urlhaus"), DAYS)
        if result.requested and any(layer.written for layer in result.layers)
    }
    again = list(build(lake.engine.lake, feeds_daily, DAYS, "b"))
    written = {day for day, result in zip(DAYS, again, strict=True) if result.written}
    assert written <= changed
    assert written == {
        day for day, r in zip(DAYS, again, strict=True) if r.data_version not in before
    }


@pytest.mark.slow
def test_gold_as_of_a_moment_is_evaluated_over_what_was_known(
    lake: TestLake, feeds_daily: GoldSpec, played: Simulator
):
    for name in ("malicious_ip", "threatfox_ips"):
        lake.fetch(unhurried(name), [TODAY])
    noon = played.clock()
    list(build(lake.engine.lake, feeds_daily, DAYS, "a"))
    then = lake.sql(
        "FROM aggregated.feeds_daily WHERE day < '2026-06-10' AND day >= '2026-06-01' ORDER BY ALL"
    )
    played.clock.advance(36 * 3600)
    lake.fetch(unhurried("urlhaus"), DAYS)
    list(build(lake.engine.lake, feeds_daily, DAYS, "b"))
    shown = lake.sql(
        "FROM aggregated.feeds_daily WHERE day < '2026-06-10' AND day >= '2026-06-01' ORDER BY ALL",
        as_of=noon,
    )
    assert shown.equals(then)


# -- the condition ------------------------------------------------------------------------------


def _told(instance: dg.DagsterInstance, source: str, day: date, version: str) -> None:
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            dg.AssetKey(["cleaned", source]),
            partition=str(day),
            tags={"dagster/data_version": version},
        )
    )


def _built(instance: dg.DagsterInstance, days: set[str]) -> None:
    for day in days:
        instance.report_runless_asset_event(
            dg.AssetMaterialization(dg.AssetKey(["aggregated", "feeds_daily"]), partition=day)
        )


def test_exactly_the_days_whose_content_changed_are_asked_for(
    tmp_path_factory: pytest.TempPathFactory,
):
    lake = str(tmp_path_factory.mktemp("lake"))
    definitions = build_definitions(sources=registry.load(), settings=Settings(lake=lake))
    key = dg.AssetKey(["aggregated", "feeds_daily"])
    with dg.DagsterInstance.ephemeral() as instance:

        def asked(cursor: object = None) -> tuple[set[str], object]:
            result = dg.evaluate_automation_conditions(
                definitions, instance, asset_selection=dg.AssetSelection.assets(key), cursor=cursor
            )
            return {str(p) for p in result.get_requested_partitions(key)}, result.cursor

        _told(instance, "urlhaus", DAYS[0], "a")
        _told(instance, "tweetfeed", DAYS[1], "a")
        first, cursor = asked()
        assert first == {str(DAYS[0]), str(DAYS[1])}
        _built(instance, first)
        nothing, cursor = asked(cursor)
        assert nothing == set()
        _told(instance, "urlhaus", DAYS[0], "a")  # the same content once more
        _told(instance, "tweetfeed", DAYS[1], "b")  # another
        _told(instance, "ipsum", DAYS[2], "a")  # a day that was never built
        changed, cursor = asked(cursor)
        assert changed == {str(DAYS[1]), str(DAYS[2])}
        _built(instance, changed)
        assert asked(cursor)[0] == set()


def test_a_whole_table_is_asked_for_when_a_day_that_it_is_made_of_changed(
    tmp_path_factory: pytest.TempPathFactory,
):
    lake = str(tmp_path_factory.mktemp("lake"))
    definitions = build_definitions(sources=registry.load(), settings=Settings(lake=lake))
    parts, sightings = (
        dg.AssetKey(["aggregated", name]) for name in ("indicator_parts", "sightings")
    )

    def told(key: dg.AssetKey, day: date | None, version: str) -> None:
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                key,
                partition=day and str(day),
                tags={"dagster/data_version": version},
            )
        )

    with dg.DagsterInstance.ephemeral() as instance:
        cursor: Any = None
        now = datetime(2026, 6, 10, 12, 0, tzinfo=UTC)

        def asked(minutes: int = 1) -> bool:
            nonlocal cursor, now
            now += timedelta(minutes=minutes)
            result = dg.evaluate_automation_conditions(
                definitions,
                instance,
                asset_selection=dg.AssetSelection.assets(parts),
                evaluation_time=now,
                cursor=cursor,
            )
            cursor = result.cursor
            return result.get_num_requested(parts) > 0

        assert not asked()
        told(sightings, DAYS[0], "a")
        assert asked()
        told(parts, None, "1")
        assert not asked()
        told(sightings, DAYS[0], "a")  # the same content once more
        assert not asked()
        told(sightings, DAYS[1], "b")
        assert asked()
        told(parts, None, "2")
        assert not asked()
        told(dg.AssetKey(["cleaned", "warninglists"]), DAYS[0], "a")
        assert asked()
        # A day changes while it is made, of which nobody can say whether it came in.
        told(sightings, DAYS[0], "c")
        told(parts, None, "3")
        assert not asked()
        assert asked(60)
        told(parts, None, "3")
        assert not asked()
