"""Checks: what Dagster is told of every partition; and a state feed in a run."""

from __future__ import annotations

from datetime import date, timedelta

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from intel_assets.clock import system_clock
from intel_assets.simulator.server import Simulator
from intel_assets_tests.orchestration.conftest import Installation, published_days


def evaluations(
    installation: Installation, layer: str, source: str, name: str
) -> dict[str, dg.AssetCheckEvaluation]:
    """Return the evaluations of a check by partition, without those that were only planned."""
    key = dg.AssetCheckKey(dg.AssetKey([layer, source]), name)
    storage = installation.instance.event_log_storage
    found = {}
    for record in storage.get_asset_check_execution_history(key, limit=100):
        assert record.event is not None
        assert record.event.dagster_event is not None
        if record.status is AssetCheckExecutionRecordStatus.PLANNED:
            continue
        found[record.partition] = record.event.dagster_event.asset_check_evaluation_data
    return found


def test_the_numbers_of_a_check_can_be_plotted_over_the_partitions(
    installation: Installation, simulator: Simulator
) -> None:
    days = published_days(9)
    assert installation.run("tweetfeed", days).message is None
    found = evaluations(installation, "raw", "tweetfeed", "volume")
    assert sorted(found) == [day.isoformat() for day in days]
    last = found[days[-1].isoformat()].metadata
    assert isinstance(last["value"].value, float | int)
    assert isinstance(last["usual"].value, float | int)
    assert "usual" not in found[days[0].isoformat()].metadata


def test_a_volume_that_is_not_believed_is_a_warning_and_stops_nothing(
    installation: Installation, simulator: Simulator
) -> None:
    days = published_days(9)
    simulator.faults.add("empty", path=f"{days[-1]:%Y%m%d}.csv")
    assert installation.run("tweetfeed", days).message is None
    volume = evaluations(installation, "raw", "tweetfeed", "volume")
    assert {day for day, one in volume.items() if not one.passed} == {days[-1].isoformat()}
    warned = volume[days[-1].isoformat()]
    assert (warned.severity, warned.blocking) == (dg.AssetCheckSeverity.WARN, False)
    once = evaluations(installation, "cleaned", "tweetfeed", "unique")
    assert {one.passed for one in once.values()} == {True}
    assert {one.severity for one in once.values()} == {dg.AssetCheckSeverity.ERROR}


def test_in_a_range_a_state_feed_lands_today_and_says_of_the_rest_that_it_is_lost(
    installation: Installation, simulator: Simulator
) -> None:
    today = system_clock().date()
    days: list[date] = [today - timedelta(days=n) for n in (2, 1, 0)]
    outcome = installation.run("threatfox_ips", days)
    assert "threatfox_ips: 2 of 3 days failed" in (outcome.message or "")
    assert "a state feed: what it held that day is lost" in (outcome.message or "")
    assert outcome.exit_code == 4
    assert len(simulator.requests) == 1
    for layer, name in (("raw", "threatfox_ips"), ("aggregated", "threatfox_ips_daily")):
        (event,) = installation.materializations(layer, name)
        assert event.partition == today.isoformat()
    stale = evaluations(installation, "raw", "threatfox_ips", "staleness")
    assert {day for day, one in stale.items() if one.passed} == {today.isoformat()}
