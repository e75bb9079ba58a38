"""The files for other systems as assets: each with its check, and a refusal fails the run."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg
import pytest

from intel_assets.orchestration import exports
from intel_assets.threat.export.published import PUBLICATIONS, Published

NAMES = [one.name for one in PUBLICATIONS]


def ran(monkeypatch: pytest.MonkeyPatch, found: Sequence[Published]) -> dg.ExecuteInProcessResult:
    monkeypatch.setattr(exports, "_published", lambda settings: iter(found))
    return dg.materialize([exports.export_assets()], raise_on_error=False)


def published(name: str, refused: str = "") -> Published:
    return Published(name, f"/x/{name}", "2026-06-10T12:00:00+00:00", 7, "v1", refused)


def test_what_is_written_is_materialized_with_its_version_and_a_check_that_passed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = ran(monkeypatch, [published(name) for name in NAMES])
    assert result.success
    told = result.asset_materializations_for_node("exports_assets")
    assert [one.asset_key.path for one in told] == [["export", name] for name in NAMES]
    assert {one.tags["dagster/data_version"] for one in told} == {"v1"}
    assert {one.metadata["indicators"].value for one in told} == {7}
    checks = result.get_asset_check_evaluations()
    assert [one.passed for one in checks] == [True] * len(NAMES)


def test_a_file_that_was_left_as_it_was_fails_its_check_and_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [published(NAMES[0], "it lost half"), *(published(name) for name in NAMES[1:])]
    result = ran(monkeypatch, found)
    assert not result.success
    (failure,) = [one for one in result.all_events if one.is_step_failure]
    said = failure.step_failure_data.user_failure_data
    assert said is not None
    assert said.description == f"{NAMES[0]}: it lost half."
    told = result.asset_materializations_for_node("exports_assets")
    assert [one.asset_key.path[-1] for one in told] == NAMES[1:]
    failed = [one for one in result.get_asset_check_evaluations() if not one.passed]
    assert [one.asset_key.path[-1] for one in failed] == NAMES[:1]


def test_where_no_feed_has_told_of_anything_nothing_is_published(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = ran(monkeypatch, [])
    assert result.success
    assert result.get_asset_check_evaluations() == []


def test_it_runs_every_hour_by_itself() -> None:
    schedule = exports.export_schedule
    assert schedule.cron_schedule == "40 * * * *"
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert schedule.job_name == "exports"
