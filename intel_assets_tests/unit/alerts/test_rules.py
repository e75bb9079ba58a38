"""What each rule calls wrong, and what it does not."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from typing import Any

import polars as pl
import pytest

from intel_assets.alerts.facts import FRAMES, Facts
from intel_assets.alerts.rules import NEWS, RULES, Finding, judge
from intel_assets_tests.unit.alerts.given import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    TODAY,
    days,
    facts,
    found,
    frame,
)


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


def test_where_all_is_well_nothing_is_found() -> None:
    assert found() == []
    assert found(sources=[{}], quota=[{}], disk=[{}]) == []


# -- run_failed --------------------------------------------------------------------------------


def test_a_failed_run_is_told_with_its_reason_and_its_run() -> None:
    one = only(found(failed_runs=[{"message": "boom"}]))
    assert (one.rule, one.source, one.run_id, one.magnitude) == (
        "run_failed",
        "urlhaus",
        "run-1",
        1,
    )
    assert "boom" in one.message
    assert "run-1" in one.advice


def test_many_failed_runs_of_a_source_are_one_finding() -> None:
    runs = [{"run_id": f"run-{n}", "at": NOW - n * MINUTE} for n in range(1, 8)]
    one = only(found(failed_runs=runs))
    assert (one.magnitude, one.run_id) == (7, "run-1")
    assert one.message.startswith("7 runs of urlhaus")


def test_a_failed_run_is_over_when_a_later_one_succeeds() -> None:
    runs: list[dict[str, Any]] = [{"at": NOW - HOUR}]
    assert found(failed_runs=runs, sources=[{"last_good_run": NOW - MINUTE}]) == []
    assert only(found(failed_runs=runs, sources=[{"last_good_run": NOW - 2 * HOUR}]))


def test_a_failed_run_is_over_after_a_day() -> None:
    assert found(failed_runs=[{"at": NOW - NEWS}]) == []
    assert only(found(failed_runs=[{"at": NOW - NEWS + MINUTE}]))


def test_a_failed_run_of_no_source_is_told_too() -> None:
    one = only(found(failed_runs=[{"source": ""}]))
    assert one.source == ""
    assert "aggregated" in one.message


# -- gaps --------------------------------------------------------------------------------------


def test_days_that_are_lost_soon_are_one_finding_with_their_ranges() -> None:
    states = days(date(2026, 5, 11), 3, deadline=NOW + 20 * HOUR) + days(
        date(2026, 5, 20), 1, deadline=NOW + 23 * HOUR
    )
    one = only(found(states=states))
    assert (one.rule, one.severity) == ("gap_about_to_be_lost", "warning")
    assert "4 days (2026-05-11 to 2026-05-13, 2026-05-20)" in one.message
    assert "2026-06-11 08:00 UTC" in one.message
    assert "intel backfill urlhaus --from 2026-05-11 --to 2026-05-20" in one.advice
    assert "intel gaps --explain urlhaus 2026-05-11" in one.advice


def test_a_gap_gets_worse_as_its_end_nears() -> None:
    left = (20, 10, 5, 2, 1, 0.5)
    seen = [only(found(states=[{"deadline": NOW + h * HOUR}])) for h in left]
    assert [one.severity for one in seen] == ["warning"] * 2 + ["critical"] * 4
    sizes = [one.magnitude for one in seen]
    assert sizes == sorted(sizes)
    assert sizes[1] >= 2 * sizes[0]
    assert sizes[-1] == sizes[-2], "below an hour it says so no more often"


def test_a_gap_with_time_left_is_no_alert() -> None:
    assert found(states=[{"deadline": NOW + 25 * HOUR}, {"deadline": None}]) == []


def test_a_slow_source_is_told_earlier() -> None:
    states: list[dict[str, Any]] = [{"deadline": NOW + 10 * DAY}]
    assert only(found(states=states, sources=[{"every": 7 * DAY, "last_success": NOW}]))


@pytest.mark.parametrize("state", ["complete", "empty", "filling", "disabled", "not_configured"])
def test_what_is_settled_or_under_way_is_not_about_to_be_lost(state: str) -> None:
    assert found(states=[{"state": state, "deadline": NOW + HOUR}]) == []


def test_lost_days_are_told_once_with_the_reason() -> None:
    lost = days(
        date(2026, 5, 1), 12, state="lost", remedy="none", reason="no past to ask for: <!channel>"
    )
    one = only(found(states=lost))
    assert (one.rule, one.severity, one.magnitude) == ("gap_lost", "critical", 12)
    assert "12 days (2026-05-01 to 2026-05-12)" in one.message
    assert "no past to ask for" in one.message
    assert "<" not in one.message
    long_ago = [row | {"since": NOW - NEWS} for row in lost]
    assert found(states=long_ago) == [], "what cannot be mended is not told for ever"


def test_hundreds_of_ranges_do_not_make_a_long_message() -> None:
    lost = [{"day": date(2024, 1, 1) + timedelta(days=2 * n), "state": "lost"} for n in range(390)]
    one = only(found(states=lost))
    assert "390 days" in one.message
    assert "and 385 more ranges" in one.message
    assert len(one.message) < 500


def test_two_sources_are_two_findings() -> None:
    lost = [{"source": name, "state": "lost"} for name in ("b", "a")]
    assert [one.source for one in found(states=lost)] == ["a", "b"]


def test_days_that_nothing_tries_any_more_want_a_person() -> None:
    states: list[dict[str, Any]] = [
        *days(date(2026, 6, 1), 2, state="failed", remedy="person"),
        {"day": date(2026, 6, 4), "state": "rejected", "remedy": "person"},
        {"day": date(2026, 6, 5), "state": "rejected", "remedy": "fetch"},
    ]
    one = only(found(states=states))
    assert one.rule == "partitions_failed"
    assert "3 days (2026-06-01 to 2026-06-02, 2026-06-04)" in one.message
    assert "intel gaps --explain urlhaus 2026-06-04" in one.advice


# -- requests ----------------------------------------------------------------------------------


def test_a_used_up_quota_is_a_warning_and_an_overdrawn_one_critical() -> None:
    assert found(quota=[{"used": 99}]) == []
    assert only(found(quota=[{"used": 100}])).severity == "warning"
    one = only(found(quota=[{"used": 101}]))
    assert (one.severity, one.rule) == ("critical", "source_over_quota")
    assert "intel source disable urlhaus" in one.advice
    assert only(found(quota=[{"used": 5, "allowed": 0}])).magnitude == 5


def fetches(good: int, bad: int, **given: Any) -> list[dict[str, Any]]:
    rows = [{"started_at": NOW - (n + 10) * MINUTE} for n in range(good + bad)]
    failed = {"outcome": "failed", "error_class": "UpstreamUnavailable", "error": "it answered 503"}
    return [row | (failed if n < bad else {}) | given for n, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("good", "bad", "severity"),
    [(10, 1, None), (9, 1, None), (8, 1, "warning"), (5, 5, "critical"), (0, 4, None)],
)
def test_more_than_a_tenth_of_an_hours_requests_may_not_fail(
    good: int, bad: int, severity: str | None
) -> None:
    findings = found(fetches=fetches(good, bad))
    assert [one.severity for one in findings] == ([severity] if severity else [])
    assert all("it answered 503" in one.message for one in findings)


def test_failures_of_the_last_hour_alone_count_and_each_once() -> None:
    assert found(fetches=fetches(0, 9, received_at=NOW - HOUR)) == []
    assert found(fetches=fetches(0, 9, outcome="landed")) == []
    rows = fetches(46, 5)
    assert found(fetches=rows) == []
    # A request stands in the journal twice once its body is folded.
    assert only(found(fetches=fetches(40, 5) * 2)).magnitude == pytest.approx(5 / 45)


# -- silence -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("every", "pause", "silent", "told"),
    [
        (15 * MINUTE, timedelta(), 30 * MINUTE, False),
        (15 * MINUTE, timedelta(), 31 * MINUTE, True),
        (15 * MINUTE, DAY, 24 * HOUR, False),
        (15 * MINUTE, DAY, 25 * HOUR, True),
        (7 * DAY, 7 * DAY, 13 * DAY, False),
        (7 * DAY, 7 * DAY, 15 * DAY, True),
    ],
)
def test_silence_for_twice_the_cadence_or_the_longest_pause_is_told(
    every: timedelta, pause: timedelta, silent: timedelta, told: bool
) -> None:
    row = {"every": every, "longest_pause": pause, "last_success": NOW - silent}
    findings = found(sources=[row])
    assert [one.rule for one in findings] == (["nothing_ingested"] if told else [])


def test_silence_of_a_source_that_is_off_or_has_just_been_switched_on_is_none() -> None:
    long_ago = {"last_success": NOW - 30 * DAY}
    assert found(sources=[long_ago | {"enabled": False}]) == []
    assert found(sources=[long_ago | {"since": NOW - HOUR}]) == []
    never: dict[str, Any] = {"last_success": None}
    assert found(sources=[never | {"since": NOW - HOUR}]) == []
    assert found(sources=[never | {"since": None}]) == []
    assert " yet" in only(found(sources=[never | {"since": NOW - 3 * DAY}])).message


def test_long_silence_is_critical() -> None:
    row = {"every": HOUR, "longest_pause": timedelta(), "last_success": NOW - 8 * HOUR}
    assert only(found(sources=[row])).severity == "critical"


# -- content -----------------------------------------------------------------------------------


def test_a_collapse_of_volume_is_told_and_a_burst_is_not() -> None:
    one = only(found(checks=[{"value": 27174.0, "usual": 135937.0}]))
    assert one.rule == "volume_collapse"
    assert "27,174" in one.message
    assert "135,937" in one.message
    assert found(checks=[{"value": 5000.0}, {"passed": True}, {"value": None}]) == []
    assert found(checks=[{"recorded_at": NOW - NEWS}]) == []


def test_a_change_of_schema_is_told_with_what_changed_and_gets_worse_with_another() -> None:
    drift = {"name": "schema_drift", "description": "new column asn"}
    one = only(found(checks=[drift | {"day": TODAY - n * DAY} for n in range(3)]))
    assert (one.rule, one.magnitude) == ("schema_change", 1)
    assert "new column asn" in one.message
    assert "intel replay urlhaus --from 2026-06-08 --to 2026-06-10" in one.advice
    other = drift | {"description": "host is gone", "day": TODAY - 5 * DAY}
    assert only(found(checks=[drift, other])).magnitude == 2


# -- the machine -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("free", "total", "severity"),
    [
        (11 << 30, 100 << 30, None),
        (9 << 30, 100 << 30, "warning"),
        (2 << 30, 100 << 30, "critical"),
        (3 << 30, 4 << 30, None),
        (int(1.9 * (1 << 30)), 4 << 30, "warning"),
        (400 << 20, 4 << 30, "critical"),
        (0, 4 << 30, "critical"),
    ],
)
def test_a_disk_may_not_be_nearly_full(free: int, total: int, severity: str | None) -> None:
    findings = found(disk=[{"free_bytes": free, "total_bytes": total}])
    assert [(one.severity, one.subject) for one in findings] == (
        [(severity, "/lake")] if severity else []
    )
    assert all("intel upkeep" in one.advice for one in findings)


def test_a_channel_that_gave_messages_up_is_told_until_it_works_again() -> None:
    given_up = [{}, {"recorded_at": NOW - MINUTE}]
    one = only(found(deliveries=given_up))
    assert (one.rule, one.subject, one.magnitude) == (
        "delivery_failed",
        "slack",
        2,
    )
    assert "2 messages" in one.message
    assert "no connection" in one.message
    assert found(deliveries=[*given_up, {"outcome": "delivered", "recorded_at": NOW}]) == []
    assert found(deliveries=[{"recorded_at": NOW - NEWS}]) == []
    assert found(deliveries=[{"outcome": "failed"}]) == [], "it is tried again"
    moved = {"outcome": "delivered", "target": "chat.example.org", "recorded_at": NOW}
    assert found(deliveries=[{}, moved]) == [], "a webhook that moved is still that webhook"
    elsewhere = {"outcome": "delivered", "channel": "email", "recorded_at": NOW}
    assert only(found(deliveries=[{}, elsewhere])).magnitude == 1
    ops, night = ({"channel": "email", "target": f"{who}@example.org"} for who in ("ops", "night"))
    works = night | {"outcome": "delivered", "recorded_at": NOW}
    assert only(found(deliveries=[ops, night, works])).subject == "email ops@example.org"


# -- the facts ---------------------------------------------------------------------------------


def test_a_fact_that_could_not_be_had_is_not_an_empty_one() -> None:
    known = {name: frame(name) for name in FRAMES}
    for name in FRAMES:
        lacking = Facts(now=NOW, **known | {name: None})
        needing = {rule for rule, one in RULES.items() if name in one.needs}
        assert needing
        assert judge(lacking).unjudged == needing
        with pytest.raises(LookupError):
            lacking.of(name)
    assert judge(Facts(now=NOW)).unjudged == set(RULES)


def test_facts_take_any_zone_and_types_that_fit_and_refuse_a_frame_that_lacks_a_column() -> None:
    there = timezone(timedelta(hours=9))
    assert judge(facts(now=NOW.astimezone(there))).findings == ()
    empty = pl.DataFrame({name: [] for name in [*FRAMES["disk"], "more"]})
    assert Facts(now=NOW, disk=empty).of("disk").schema == FRAMES["disk"]
    with pytest.raises(ValueError, match="disk lack place"):
        Facts(now=NOW, disk=frame("disk").drop("place"))
    with pytest.raises(ValueError, match="zone"):
        Facts(now=datetime(2026, 6, 10))  # noqa: DTZ001


# -- watched_indicator -----------------------------------------------------------------------------


def test_what_is_watched_for_and_told_of_is_one_finding_an_entry() -> None:
    hits: list[dict[str, Any]] = [
        {"indicator": "a.example.test"},
        {"indicator": "b.example.test", "sources": ["otx", "urlhaus"]},
        {"indicator": "203.0.113.7", "watched": "203.0.113.7", "owner": "bob", "reason": "office"},
    ]
    first, second = found(watched=hits)
    assert (first.subject, second.subject) == ("203.0.113.7", "example.test")
    assert first.message == "urlhaus tells of 203.0.113.7, which bob watches for: office."
    assert second.message == (
        "otx, urlhaus tell of example.test (2 indicators in it: a.example.test, b.example.test), "
        "which ann watches for: our supplier."
    )
    assert second.magnitude > first.magnitude


def test_what_was_last_told_of_two_days_ago_is_over() -> None:
    assert found(watched=[{"last_day": TODAY - 2 * DAY}]) == []
    assert only(found(watched=[{"last_day": TODAY - DAY}]))


def test_a_watched_value_that_is_hostile_is_told_as_plain_text() -> None:
    one = only(found(watched=[{"reason": "<b>x</b>\n\x1b[31m", "owner": "a\nb"}]))
    assert "\n" not in one.message
    assert "\x1b" not in one.message
