"""The saved queries: each runs through the SQL door on a filled lake, and says what it answers."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from intel_assets.alerts.tables import ALERTS
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.tables import Table
from intel_assets.simulator.server import Simulator
from intel_assets_tests.e2e.commands import ROOT, TODAY, Intel

pytestmark = pytest.mark.slow

QUERIES = sorted((ROOT / "docs" / "queries").glob("*.sql"))
Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for a lake on which something went well and something wrong."""
    return tmp_path_factory.mktemp("lived")


@pytest.fixture
def saved(
    intel: Intel, lived: Path, world: Simulator, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Rows]:
    """Run a saved query, and return its rows."""
    own = {"INTEL_LAKE": str(lived / "lake"), "INTEL_STATE": str(lived / "state")}
    if not (lived / "lake").exists():
        days = ["--from", "2025-05-01", "--to", "2025-05-02"]
        assert intel("run", "tweetfeed", *days, environment=own).code == 0
        assert intel("run", "ipsum", "malicious_ip", environment=own).code == 0
        number = world.faults.add("unauthorized", host="urlhaus", times=None)
        assert intel("run", "urlhaus", environment=own).code == 4
        world.faults.remove(number)
        _alert(Layout(str(lived / "lake")))

    def run(name: str) -> Rows:
        query = (ROOT / "docs" / "queries" / f"{name}.sql").read_text("utf-8")
        monkeypatch.setattr(sys, "stdin", io.StringIO(query))
        answer = intel("sql", "-", "--format", "csv", environment=own)
        assert answer.code == 0, answer.err
        return list(csv.DictReader(io.StringIO(answer.out)))

    return run


def _alert(layout: Layout) -> None:
    row = {
        "rule": "run_failed",
        "alert_id": "a",
        "source": "urlhaus",
        "subject": "urlhaus",
        "severity": "warning",
        "state": "open",
        "message": "A run failed.",
        "advice": "Look at it.",
        "magnitude": 1.0,
        "opened_at": TODAY,
        "until": TODAY + timedelta(hours=4),
        "run_id": "",
        "recorded_at": TODAY,
    }
    over = row | {"alert_id": "b", "state": "resolved"}
    Table(layout, ALERTS).append(pl.DataFrame([row, over], schema=ALERTS.schema), {})


@pytest.mark.parametrize("query", QUERIES, ids=lambda path: path.stem)
def test_every_saved_query_runs_and_has_an_answer(saved: Callable[[str], Rows], query: Path):
    assert saved(query.stem)


@pytest.mark.parametrize("query", QUERIES, ids=lambda path: path.stem)
def test_every_saved_query_begins_with_what_it_answers(query: Path):
    head = query.read_text("utf-8").splitlines()[0]
    assert head.startswith("-- ")
    assert len(head) > 40


def test_failures_name_the_class_and_the_last_error(saved: Callable[[str], Rows]):
    (row,) = saved("failures")
    assert (row["source"], row["class"], row["last_status"]) == ("urlhaus", "Unauthorized", "401")
    assert row["last_error"]


def test_volume_counts_requests_bytes_and_records(saved: Callable[[str], Rows]):
    rows = {row["source"]: row for row in saved("volume")}
    assert rows["tweetfeed"]["requests"] == "2"
    assert int(rows["tweetfeed"]["bytes"]) > int(rows["tweetfeed"]["added"]) > 0


def test_freshness_tells_of_answers_and_of_changes(saved: Callable[[str], Rows]):
    row = {row["source"]: row for row in saved("freshness")}["tweetfeed"]
    assert row["newest_day"] == "2025-05-02"
    assert float(row["hours_since_answer"]) >= 0


def test_quota_counts_every_attempt(saved: Callable[[str], Rows]):
    rows = {row["source"]: row for row in saved("quota")}
    assert rows["tweetfeed"]["requests"] == rows["tweetfeed"]["requests_this_month"] == "2"


def test_slow_fetches_are_by_host(saved: Callable[[str], Rows]):
    rows = {row["host"]: row for row in saved("slow_fetches")}
    found = rows["raw.githubusercontent.com"]
    assert (
        float(found["slowest_seconds"])
        >= float(found["p95_seconds"])
        >= float(found["p50_seconds"])
    )


def test_gaps_by_age_tell_of_the_next_deadline(saved: Callable[[str], Rows]):
    rows = {row["source"]: row for row in saved("gaps_by_age")}
    assert rows["tweetfeed"]["state"] == "missing"
    assert rows["urlhaus"]["next_deadline"] > rows["urlhaus"]["last_day"]


def test_alerts_that_are_over_are_not_open(saved: Callable[[str], Rows]):
    (row,) = saved("alerts_open")
    assert (row["rule"], row["source"], row["advice"]) == ("run_failed", "urlhaus", "Look at it.")
