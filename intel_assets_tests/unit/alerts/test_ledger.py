"""What is said of an alert, when, and how often at most."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intel_assets.alerts.ledger import Manners, alert_id, decide
from intel_assets.alerts.rules import Finding
from intel_assets.alerts.tables import ALERTS, newest
from intel_assets_tests.unit.alerts.given import DAY, HOUR, MINUTE, NOW, finding


class Told:
    """A ledger over time."""

    def __init__(self, manners: Manners | None = None) -> None:
        self.rows = ALERTS.empty()
        self.manners = manners or Manners()

    def at(self, now: datetime, *findings: Finding, unjudged: tuple[str, ...] = ()) -> list[str]:
        """Look at a moment; return the states of the rows that were written."""
        added = decide(findings, self.rows, now, self.manners, unjudged)
        assert added.schema == ALERTS.schema
        assert ALERTS.split(added).rejected.is_empty()
        self.rows = pl.concat([self.rows, added])
        return added["state"].to_list()

    @property
    def last(self) -> dict[str, Any]:
        return self.rows.row(-1, named=True)


def test_a_finding_opens_an_alert_that_says_all_of_it() -> None:
    told = Told()
    one = finding(rule="run_failed", source="urlhaus", subject="urlhaus", run_id="run-1")
    assert told.at(NOW, one) == ["open"]
    assert told.last == {
        "rule": "run_failed",
        "alert_id": alert_id(one),
        "source": "urlhaus",
        "subject": "urlhaus",
        "severity": "warning",
        "state": "open",
        "message": one.message,
        "advice": one.advice,
        "magnitude": 1.0,
        "opened_at": NOW,
        "until": NOW + 4 * HOUR,
        "run_id": "run-1",
        "recorded_at": NOW,
    }


@pytest.mark.slow
def test_what_stands_is_told_again_after_4_hours_then_12_then_daily() -> None:
    told = Told()
    said = {}
    for half_hours in range(2 * 24 * 5):
        now = NOW + half_hours * HOUR / 2
        for state in told.at(now, finding()):
            said[half_hours / 2] = state
    assert said == {
        0: "open",
        4: "reminded",
        16: "reminded",
        40: "reminded",
        64: "reminded",
        88: "reminded",
        112: "reminded",
    }


def test_a_reminder_tells_how_it_is_now_and_since_when() -> None:
    told = Told()
    told.at(NOW, finding(magnitude=4, message="four"))
    told.at(NOW + 5 * HOUR, finding(magnitude=3, message="three"))
    assert (told.last["message"], told.last["magnitude"]) == ("three", 3)
    assert told.last["opened_at"] == NOW


@pytest.mark.parametrize(
    ("worse", "state"),
    [
        ({"magnitude": 2.0}, ["worse"]),
        ({"magnitude": 1.9}, []),
        ({"severity": "critical"}, ["worse"]),
        ({"magnitude": 0.5}, []),
    ],
)
def test_what_gets_twice_as_bad_or_more_urgent_is_told_at_once(
    worse: dict[str, Any], state: list[str]
) -> None:
    told = Told()
    told.at(NOW, finding())
    assert told.at(NOW + MINUTE, finding(**worse)) == state


def test_after_it_got_worse_the_cool_down_begins_anew() -> None:
    told = Told()
    told.at(NOW, finding())
    told.at(NOW + 4 * HOUR, finding())
    told.at(NOW + 5 * HOUR, finding(magnitude=2))
    assert told.last["until"] == NOW + 9 * HOUR
    assert told.at(NOW + 8 * HOUR, finding(magnitude=3)) == []
    assert told.at(NOW + 9 * HOUR, finding(magnitude=3)) == ["reminded"]
    assert told.last["until"] == NOW + 21 * HOUR


def test_what_becomes_less_urgent_and_more_again_is_not_worse() -> None:
    told = Told()
    told.at(NOW, finding(severity="critical"))
    for minute in range(1, 60):
        severity = "warning" if minute % 2 else "critical"
        assert told.at(NOW + minute * MINUTE, finding(severity=severity)) == []


def test_what_wavers_between_reminders_is_not_worse_at_each_turn() -> None:
    told = Told()
    said = []
    for hour in range(24 * 4):
        high = hour % 3 == 0
        severity = "critical" if high else "warning"
        said += told.at(NOW + hour * HOUR, finding(severity=severity, magnitude=9 if high else 1))
    assert said == ["open", "reminded", "reminded", "reminded", "reminded", "reminded"]


def test_what_was_resolved_is_measured_anew() -> None:
    told = Told()
    told.at(NOW, finding(magnitude=9, severity="critical"))
    told.at(NOW + HOUR)
    assert told.at(NOW + 2 * HOUR, finding()) == ["open"]
    assert told.at(NOW + 3 * HOUR, finding(magnitude=2)) == ["worse"]


def test_what_grows_from_nothing_is_worse_once() -> None:
    told = Told()
    told.at(NOW, finding(magnitude=0.0))
    assert told.at(NOW + MINUTE, finding(magnitude=0.0)) == []
    assert told.at(NOW + 2 * MINUTE, finding(magnitude=0.1)) == ["worse"]


def test_what_is_gone_is_resolved_once_and_told_what_it_was() -> None:
    told = Told()
    told.at(NOW, finding())
    assert told.at(NOW + HOUR) == ["resolved"]
    assert told.last["message"] == "It no longer holds: little is free."
    assert (told.last["advice"], told.last["opened_at"]) == ("", NOW)
    assert told.at(NOW + 2 * HOUR) == []


def test_what_cannot_be_mended_is_not_called_mended() -> None:
    told = Told()
    told.at(NOW, finding(rule="gap_lost"))
    told.at(NOW + DAY)
    assert "stays lost" in told.last["message"]


def test_what_comes_back_is_opened_anew_at_once() -> None:
    told = Told()
    told.at(NOW, finding())
    told.at(NOW + MINUTE)
    assert told.at(NOW + 2 * MINUTE, finding()) == ["open"]
    assert told.last["opened_at"] == NOW + 2 * MINUTE


def test_what_comes_and_goes_is_held_open() -> None:
    told = Told()
    said: list[str] = []
    for quarter in range(16):
        said += told.at(NOW + quarter * HOUR / 4, *([finding()] if quarter % 2 == 0 else []))
    assert said == ["open", "resolved", "open", "resolved", "open"]
    assert told.at(NOW + 4 * HOUR) == ["resolved"], "a cool-down after the first opening"


def test_alerts_of_rules_that_could_not_be_judged_stay_as_they_are() -> None:
    told = Told()
    told.at(NOW, finding())
    assert told.at(NOW + HOUR, unjudged=("disk_nearly_full",)) == []
    later = NOW + 5 * HOUR
    assert told.at(later, finding(magnitude=9), unjudged=("disk_nearly_full",)) == []
    assert told.at(later) == ["resolved"]


def test_an_alert_of_a_rule_that_is_no_more_is_resolved() -> None:
    told = Told()
    told.at(NOW, finding(rule="of_another_version"))
    assert told.at(NOW + HOUR) == ["resolved"]


def test_of_two_findings_of_one_alert_the_worse_counts() -> None:
    for order in ([0, 1], [1, 0]):
        two = [finding(severity="critical"), finding(magnitude=9)]
        told = Told()
        assert told.at(NOW, *(two[n] for n in order)) == ["open"]
        assert told.last["severity"] == "critical"


def test_a_clock_that_is_set_back_does_not_mix_the_order() -> None:
    told = Told()
    told.at(NOW, finding())
    told.at(NOW - HOUR)
    assert told.last["state"] == "resolved"
    assert told.last["recorded_at"] > NOW
    assert newest(told.rows)["state"].to_list() == ["resolved"]


@pytest.mark.parametrize(("hours", "within"), [(0.1, 1), (2, 2), (100, 4)])
def test_openings_are_counted_for_a_cool_down_but_an_hour_to_four(
    hours: float, within: int
) -> None:
    assert Manners(cool_down=hours * HOUR).within == within * HOUR


@pytest.mark.parametrize("hours", [0.1, 1, 4, 12, 30, 100])
def test_pauses_never_shrink(hours: float) -> None:
    manners = Manners(cool_down=hours * HOUR)
    assert list(manners.steps) == sorted(manners.steps)
    assert manners.steps[-1] >= DAY
    assert manners.after(manners.steps[-1]) == manners.steps[-1]


# -- for all histories -------------------------------------------------------------------------

SUBJECTS = ("a", "b", "c")
a_finding = st.builds(
    finding,
    subject=st.sampled_from(SUBJECTS),
    severity=st.sampled_from(["warning", "critical"]),
    magnitude=st.floats(0, 64),
    rule=st.sampled_from(["disk_nearly_full", "gap_lost"]),
)
a_step = st.tuples(
    st.sampled_from([MINUTE, 5 * MINUTE, HOUR, 5 * HOUR, 2 * DAY]), st.lists(a_finding, max_size=4)
)
FOLLOWS = {
    None: {"open"},
    "open": {"worse", "reminded", "resolved"},
    "worse": {"worse", "reminded", "resolved"},
    "reminded": {"worse", "reminded", "resolved"},
    "resolved": {"open"},
}


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(steps=st.lists(a_step, max_size=25), seed=st.integers())
def test_whatever_happens_the_ledger_keeps_its_promises(
    steps: list[tuple[timedelta, list[Finding]]], seed: int
) -> None:
    told = Told()
    now = NOW
    for pause, findings in steps:
        now += pause
        shuffled = random.Random(seed).sample(findings, len(findings))
        added = decide(findings, told.rows, now)
        assert added.equals(decide(shuffled, told.rows, now)), "order does not matter"
        told.at(now, *findings)
        assert told.at(now, *shuffled) == [], "the same facts twice say nothing new"

    histories: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in told.rows.sort("recorded_at").iter_rows(named=True):
        histories[row["alert_id"]].append(row)
    for history in histories.values():
        last = None
        for row in history:
            assert row["state"] in FOLLOWS[last], "never two open rows of an alert"
            last = row["state"]
        moments = [row["recorded_at"] for row in history]
        assert all(a < b for a, b in zip(moments, moments[1:], strict=False))
        opened = [row["recorded_at"] for row in history if row["state"] == "open"]
        for n in range(len(opened) - 3):
            assert opened[n + 3] - opened[n] >= 4 * HOUR, "at most three in a cool-down"
        for before, row in zip(history, history[1:], strict=False):
            if row["state"] == "reminded":
                assert row["recorded_at"] >= before["until"]

    for hours in (1, 4):
        told.at(now + hours * HOUR)
    assert set(newest(told.rows)["state"]) <= {"resolved"}, "what stops is resolved in the end"
    assert told.at(now + DAY) == []


@settings(max_examples=20, deadline=None)
@given(
    sizes=st.lists(st.floats(0.1, 100), min_size=1, max_size=200),
    severe=st.lists(st.booleans(), min_size=200, max_size=200),
)
def test_something_that_wavers_for_hours_is_told_a_few_times(
    sizes: list[float], severe: list[bool]
) -> None:
    told = Told()
    said = []
    for minute, size in enumerate(sizes):
        severity = "critical" if severe[minute] else "warning"
        said += told.at(NOW + minute * MINUTE, finding(magnitude=size, severity=severity))
    # Opened, at most ten times twice as bad (0.1 to 100), more urgent once; no reminder is due.
    assert len(said) <= 12
