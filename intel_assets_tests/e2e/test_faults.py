"""Every way in which the simulator can misbehave, against both sources, through a whole run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from intel_assets.errors import ContractBroken, HostUnavailable, ParseError, Unauthorized
from intel_assets.ingest.documents import Window
from intel_assets.lakehouse.landing import Landing
from intel_assets.simulator.faults import Fault
from intel_assets.simulator.server import Simulator
from intel_assets.simulator.urlhaus import csv_lines
from intel_assets.simulator.urlhaus_world import UrlhausWorld
from intel_assets.sources.cleaning import HOLDS, quarantine_contract
from intel_assets.sources.results import DayResult
from intel_assets_tests.e2e.chaos_world import (
    HOSTS,
    NOW,
    QUICK,
    Place,
    assert_landing_sound,
    assert_sound,
    assert_untouched,
    bodies,
    by_day,
    holding,
    last_days,
    quick,
    standing,
)

DAYS = last_days(3)
SOURCES = ("tweetfeed", "urlhaus")
LATER = timedelta(hours=1)

# What asking again may heal: the fault, its options, and what the error says when it stays.
TRANSIENT = {
    "429": ("429", {}, "answered 429"),
    "429-date": ("429", {"as_date": True, "retry_after": 2}, "answered 429"),
    "500": ("500", {}, "answered 500"),
    "503": ("503", {}, "answered 503"),
    "504": ("504", {}, "answered 504"),
    "timeout": ("timeout", {}, "nothing came for 0.3 s"),
    "slow": ("slow", {"size": 50, "seconds": 0.2}, "it took longer than 0.6 s"),
    "truncated": ("truncated", {}, "the body broke off"),
    "truncated-chunked": ("truncated", {"chunked": True}, "the body broke off"),
    "truncated_gzip": ("truncated_gzip", {}, "compressed data end too early"),
    "endless": ("endless", {}, "it took longer than 0.6 s"),
    "disconnect": ("disconnect", {}, "disconnected without sending a response"),
}
PARTIAL = {"slow", "truncated", "truncated-chunked", "truncated_gzip", "endless"}
# A body that no parser understands comes with a good status, so nothing is asked again.
GARBLED = {
    ("tweetfeed", "wrong_content_type"): "line 1: this is a page",
    ("tweetfeed", "garbage"): "line 1 has 1 fields where 6 are expected",
    ("urlhaus", "wrong_content_type"): "line 1: this is no URLhaus dump",
    ("urlhaus", "garbage"): "line 1: this is no URLhaus dump",
    ("urlhaus", "garbled_row"): ": line ",
    ("urlhaus", "empty"): "line 1: this is no URLhaus dump, its header is missing: (an empty body)",
}


@pytest.fixture(scope="module")
def shared() -> Iterator[Simulator]:
    with Simulator(volume=0.1, seed=3) as simulator:
        yield simulator


@pytest.fixture
def simulator(shared: Simulator) -> Simulator:
    shared.faults.clear()
    shared.clock.set(NOW)
    shared.forget_requests()
    return shared


@pytest.fixture
def place(tmp_path: Path, simulator: Simulator) -> Place:
    return Place(tmp_path, simulator.url)


def impatient(name: str):
    return quick(name, read_timeout=0.3, total_timeout=0.6, max_bytes=8 << 20)


def test_every_fault_of_the_simulator_is_tried_here() -> None:
    tried = {kind for kind, _, _ in TRANSIENT.values()} | {kind for _, kind in GARBLED}
    assert tried | {Fault.UNAUTHORIZED} == set(Fault)


@pytest.mark.parametrize("case", TRANSIENT)
@pytest.mark.parametrize("name", [pytest.param("tweetfeed", marks=pytest.mark.slow), "urlhaus"])
def test_a_passing_fault_is_healed_by_asking_again(
    name: str, case: str, place: Place, simulator: Simulator
) -> None:
    kind, options, _ = TRANSIENT[case]
    slept: list[float] = []
    simulator.faults.add(kind, host=HOSTS[name], times=1, **options)
    results = place.run(impatient(name), DAYS, sleep=slept.append)
    assert {result.state for result in results} == {"complete"}
    assert len(slept) == 1, "one attempt failed, and was made again after a pause"
    if "429" in case or case == "503":
        # An HTTP date has whole seconds, so up to one of the two is lost.
        assert slept[0] >= 1.0 - 0.001
    assert place.journal(impatient(name))["attempts"].max() == 2
    assert_sound(place, impatient(name))


@pytest.mark.parametrize("name", SOURCES)
def test_a_slow_body_that_keeps_within_its_time_is_just_a_body(
    name: str, place: Place, simulator: Simulator
) -> None:
    simulator.faults.add("slow", host=HOSTS[name], times=None, size=65_536, seconds=0.05)
    assert {result.state for result in place.run(quick(name), DAYS)} == {"complete"}
    assert place.journal(quick(name))["attempts"].max() == 1


@pytest.mark.parametrize("case", TRANSIENT)
@pytest.mark.parametrize("name", ["tweetfeed", pytest.param("urlhaus", marks=pytest.mark.slow)])
def test_a_fault_that_stays_fails_the_days_and_touches_nothing(
    name: str, case: str, place: Place, simulator: Simulator
) -> None:
    kind, options, said = TRANSIENT[case]
    spec = impatient(name)
    assert {result.state for result in place.run(spec, DAYS)} == {"complete"}
    before = standing(place, spec)
    simulator.clock.set(NOW + LATER)
    simulator.faults.add(kind, host=HOSTS[name], times=None, **options)
    failed = by_day(place.run(spec, DAYS))
    assert_untouched(before, standing(place, spec))
    assert failed.keys() == set(DAYS)
    windows = {"tweetfeed": str(DAYS[-1]), "urlhaus": f"{DAYS[0]}..{DAYS[-1]}"}
    result = failed[DAYS[-1]]
    assert {r.state for r in failed.values()} == {"failed"}
    assert {r.exit_code for r in failed.values()} == {4}
    assert result.message
    assert result.message.startswith(f"{name} {windows[name]}")
    assert said in result.message
    _assert_evidence(place, spec, result, partial=case in PARTIAL)
    _assert_a_good_run_completes(place, spec, simulator)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), GARBLED)
def test_a_body_that_nobody_understands_is_evidence_and_touches_nothing(
    name: str, kind: str, place: Place, simulator: Simulator
) -> None:
    spec = quick(name)
    place.run(spec, DAYS)
    before = standing(place, spec)
    simulator.clock.set(NOW + LATER)
    simulator.faults.add(kind, host=HOSTS[name], times=None)
    failed = by_day(place.run(spec, DAYS))
    assert_untouched(before, standing(place, spec))
    assert {day: result.state for day, result in failed.items()} == dict.fromkeys(DAYS, "failed")
    result = failed[DAYS[-1]]
    assert isinstance(result.error, ParseError)
    assert result.exit_code == 5
    window = str(DAYS[-1]) if name == "tweetfeed" else f"{DAYS[0]}..{DAYS[-1]}"
    assert result.message
    assert result.message.startswith(f"{name} {window}, body ")
    assert GARBLED[name, kind] in result.message
    assert result.message.isprintable(), "what came must not steer a terminal"
    _assert_evidence(place, spec, result, partial=True)
    _assert_a_good_run_completes(place, spec, simulator)


@pytest.mark.slow
def test_a_garbled_line_of_tweetfeed_never_passes_for_a_record(
    place: Place, simulator: Simulator
) -> None:
    spec, days = quick("tweetfeed"), last_days(15)
    place.run(spec, days)
    before = holding(place, spec.raw)
    simulator.clock.set(NOW + LATER)
    simulator.faults.add("garbled_row", host=HOSTS["tweetfeed"], times=None)
    results = by_day(place.run(spec, days))
    failed = [result for result in results.values() if result.state == "failed"]
    assert len(failed) >= 10
    for result in failed:
        assert re.search(r": line \d+[ :]", str(result.message))
    # Cut off in its last field a line has all its fields; what is left of the address tells.
    for day in results.keys() - {result.day for result in failed}:
        new = {key for key in holding(place, spec.raw) - before if key[0] == day}
        good = {key for key in holding(place, spec.cleaned) - before if key[0] == day}
        assert len(new - good) == 1
    stored = [key for key in holding(place, spec.raw) if key[0] in {r.day for r in failed}]
    assert set(stored) == {key for key in before if key[0] in {r.day for r in failed}}
    simulator.faults.clear()
    assert {result.state for result in place.run(spec, days)} == {"complete"}
    assert holding(place, spec.raw) == before | holding(place, spec.raw)
    assert_sound(place, spec)


@pytest.mark.parametrize("fields", range(1, 9))
def test_a_line_of_a_dump_that_ends_between_two_fields_fails_the_dump(
    fields: int, place: Place
) -> None:
    world = UrlhausWorld(3, 0.05)
    lines = list(csv_lines(world.published(NOW, NOW - timedelta(days=2)), NOW))
    at = len(lines) // 2
    lines[at] = b'","'.join(lines[at].split(b'","')[:fields]) + b'"\n'
    (result,) = _land(place, "urlhaus", b"".join(lines), DAYS[-1])
    number = b"".join(lines[:at]).count(b"\n") + 1
    assert result.state == "failed"
    assert f"line {number} has {fields} fields where 9 are expected" in str(result.message)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize(
    "body",
    [
        b'{"query_status": "unknown_auth_key"}',
        b'{"urls": null}',
        b'{"a": 1}',
        b'{"a": [1]}',
        b"[[]]",
        b"[1, 2]",
        b"[" * 100_000,
        b"null",
        b"\x00" * 5_000,
        b'"' * 4_001,
        b'"' + b"x" * 300_000,
        b"\n\n\n",
        b",,,,,\n" * 10,
        b"\x1b[2J\x1b]0;owned\x07\n",
        b"PK\x03\x04" + b"x" * 50,
        b"\x1f\x8b" + b"x" * 50,
        b"\x28\xb5\x2f\xfdzzzz",
        "a,b\n".encode("utf-16"),
        b"<html>",
    ],
    ids=lambda body: repr(body[:16]),
)
def test_whatever_comes_as_a_body_fails_the_day_and_not_the_run(
    name: str, body: bytes, place: Place
) -> None:
    (result,) = _land(place, name, body, DAYS[-1])
    assert result.state == "failed"
    assert result.exit_code == 5
    assert result.message
    assert result.message.startswith(f"{name} {DAYS[-1]}, body ")
    assert result.message.isprintable()
    assert [plain for _, plain in bodies(place)] == [body]


@pytest.mark.parametrize("name", SOURCES)
def test_a_refused_key_fails_the_days_at_once_and_says_so(
    name: str, place: Place, simulator: Simulator
) -> None:
    spec = quick(name)
    place.run(spec, DAYS)
    before = standing(place, spec)
    simulator.clock.set(NOW + LATER)
    simulator.faults.add("unauthorized", host=HOSTS[name], times=None)
    simulator.forget_requests()
    results = place.run(spec, DAYS)
    assert_untouched(before, standing(place, spec))
    assert {result.state for result in results} == {"failed"}
    assert all(isinstance(result.error, Unauthorized) for result in results)
    assert "refused the key (401)" in str(results[0].message)
    assert len(simulator.requests) == (3 if name == "tweetfeed" else 1), "asked once, never again"
    _assert_a_good_run_completes(place, spec, simulator)


def test_an_empty_file_of_tweetfeed_is_an_empty_day_and_the_full_one_comes_back(
    place: Place, simulator: Simulator
) -> None:
    # The format knows empty files, so this is no failure; history keeps what was withdrawn.
    spec = quick("tweetfeed")
    place.run(spec, DAYS)
    before, rows = holding(place, spec.raw), place.table(spec.raw).height
    simulator.faults.add("empty", host=HOSTS["tweetfeed"], times=None)
    simulator.clock.set(NOW + LATER)
    assert {result.state for result in place.run(spec, DAYS)} == {"empty"}
    assert holding(place, spec.raw) == set()
    assert place.table(spec.raw).height == rows, "nothing is deleted, it only holds no more"
    simulator.faults.clear()
    # An empty body without an ETag must not be taken for the one that had one.
    assert {result.state for result in place.run(spec, DAYS)} == {"complete"}
    assert before <= holding(place, spec.raw)
    assert_sound(place, spec)


def test_a_host_that_asks_for_longer_than_we_wait_is_left_alone_until_then(
    place: Place, simulator: Simulator
) -> None:
    spec = quick("urlhaus")
    simulator.faults.add("429", host=HOSTS["urlhaus"], times=None, retry_after=600)
    results = place.run(spec, DAYS)
    assert len(simulator.requests) == 1
    error = results[0].error
    assert isinstance(error, HostUnavailable)
    assert error.retry_at > datetime.now(UTC) + timedelta(seconds=500)
    assert f"{error.retry_at:%Y-%m-%d %H:%M:%S} UTC" in str(error)


def test_a_body_over_the_size_limit_fails_the_days_without_filling_the_disk(
    place: Place, simulator: Simulator
) -> None:
    spec = quick("urlhaus", max_bytes=1 << 20, total_timeout=30.0)
    simulator.faults.add("endless", host=HOSTS["urlhaus"], times=None, seconds=0)
    results = place.run(spec, DAYS)
    assert {result.state for result in results} == {"failed"}
    assert "larger than 1048576 bytes" in str(results[0].message)
    assert len(simulator.requests) == 1
    assert list(bodies(place)) == []


def test_one_poisoned_day_of_thirty_fails_alone(place: Place, simulator: Simulator) -> None:
    spec, days = quick("tweetfeed"), last_days(30)
    poisoned = days[17]
    simulator.faults.add("wrong_content_type", path=f"{poisoned:%Y%m%d}.csv", times=None)
    results = by_day(place.run(spec, days))
    assert {day for day, result in results.items() if result.state == "complete"} == {*days} - {
        poisoned
    }
    assert results[poisoned].state == "failed"
    assert set(place.table(spec.raw)["day"]) == {*days} - {poisoned}
    assert set(place.table(spec.aggregates[0].contract)["day"]) == {*days} - {poisoned}
    simulator.faults.clear()
    assert {result.state for result in place.run(spec, days)} == {"complete"}
    assert set(place.table(spec.raw)["day"]) == {*days}
    assert_sound(place, spec)


@pytest.mark.parametrize("kind", ["timeout", "500", "disconnect", "truncated"])
def test_one_unreachable_day_of_thirty_fails_alone(
    kind: str, place: Place, simulator: Simulator
) -> None:
    spec, days = impatient("tweetfeed"), last_days(30)
    simulator.faults.add(kind, path=f"{days[4]:%Y%m%d}.csv", times=None)
    results = by_day(place.run(spec, days))
    assert [day for day, result in results.items() if result.state != "complete"] == [days[4]]
    assert set(place.table(spec.cleaned)["day"]) == {*days} - {days[4]}


# -- rows that break the contract ------------------------------------------------------------------


def _tweetfeed_file(day: date, good: int, bad: int) -> bytes:
    rows = [
        f"{day} 10:00:00,user{i},url,http://198.18.0.1/{i},#tag,https://x.com/u/status/{i + 1}"
        for i in range(good)
    ]
    rows += [
        f"{day} 11:00:00,user{i},md5,nothex{i},,https://x.com/u/status/9{i}" for i in range(bad)
    ]
    return ("\n".join(rows) + "\n").encode()


@pytest.mark.parametrize(
    ("good", "bad", "refused"),
    [(381, 19, False), (399, 21, False), (379, 21, True), (0, 19, False), (0, 20, True)],
)
def test_a_partition_is_refused_above_five_percent_and_twenty_rows_alone(
    good: int, bad: int, refused: bool, place: Place
) -> None:
    name, day = "tweetfeed", DAYS[0]
    spec = quick(name)
    _land(place, name, _tweetfeed_file(day, 5, 0), day, NOW)
    stored = place.table(spec.cleaned)
    aggregated = place.table(spec.aggregates[0].contract)
    (result,) = _land(place, name, _tweetfeed_file(day, good, bad), day, NOW + LATER)
    quarantine = place.table(quarantine_contract(spec)).filter(HOLDS)
    assert quarantine["record_id"].n_unique() == bad
    assert set(quarantine["value"]) == {f"nothex{i}" for i in range(bad)}
    assert place.table(spec.raw).filter(HOLDS).height == good + bad, "raw keeps what came"
    if refused:
        assert (result.state, result.exit_code) == ("rejected", 5)
        assert f"{bad} of {good + bad} rows" in str(result.message)
        assert place.table(spec.cleaned).equals(stored)
        assert place.table(spec.aggregates[0].contract).equals(aggregated)
        # The next good body completes it.
        (result,) = _land(place, name, _tweetfeed_file(day, 50, 0), day, NOW + 2 * LATER)
        assert result.state == "complete"
        assert place.table(spec.cleaned).filter(HOLDS).height == 50
        assert_sound(place, spec)
    else:
        assert result.state == "complete"
        assert place.table(spec.cleaned).filter(HOLDS).height == good
        assert_sound(place, spec)


def _dump(columns: str, *rows: str) -> bytes:
    return "\n".join(["# comment", f"# {columns}", *rows, ""]).encode()


_COLUMNS = "id,dateadded,url,url_status,last_online,threat,tags,urlhaus_link,reporter"
_ROW = (
    '"7","2026-07-29 10:00:00","http://198.18.0.1/x","online","","malware_download","elf",'
    '"https://urlhaus.abuse.ch/url/7/","me"'
)


def test_a_new_column_is_kept_in_raw_and_reported(place: Place) -> None:
    spec = quick("urlhaus")
    _land(place, "urlhaus", _dump(_COLUMNS, _ROW), DAYS[0], NOW)
    dump = _dump(f"{_COLUMNS},asn", f'{_ROW},"AS64500"')
    (result,) = _land(place, "urlhaus", dump, DAYS[0], NOW + LATER)
    assert result.state == "complete"
    (drift,) = (check for check in result.checks if check.name == "schema_drift")
    assert (drift.passed, drift.blocking) == (False, False)
    assert "asn" in drift.description
    raw = place.table(spec.raw).filter(HOLDS)
    assert raw["asn"].to_list() == ["AS64500"]
    assert place.table(spec.cleaned).filter(HOLDS).height == 1
    # The older generation comes back: nothing breaks, and what was said of asn is history.
    (result,) = _land(place, "urlhaus", _dump(_COLUMNS, _ROW), DAYS[0], NOW + 2 * LATER)
    assert result.state == "complete"
    assert place.table(spec.raw).filter(HOLDS)["asn"].to_list() == [None]
    assert_sound(place, spec)


def test_a_lost_required_column_blocks_with_expected_against_found(place: Place) -> None:
    spec = quick("urlhaus")
    _land(place, "urlhaus", _dump(_COLUMNS, _ROW), DAYS[0], NOW)
    before = standing(place, spec)
    without = _dump(_COLUMNS.replace("threat,", ""), _ROW.replace('"malware_download",', ""))
    (result,) = _land(place, "urlhaus", without, DAYS[0], NOW + LATER)
    assert result.state == "failed"
    assert isinstance(result.error, ContractBroken)
    message = str(result.message)
    assert message.startswith(f"urlhaus {DAYS[0]}, body ")
    assert "lost its column threat: expected id, dateadded, url" in message
    assert "found id, dateadded, url, url_status, last_online, tags" in message
    assert_untouched(before, standing(place, spec))


def test_a_day_whose_parser_is_mended_is_replayed_from_the_evidence(
    place: Place, simulator: Simulator
) -> None:
    spec = quick("tweetfeed")

    def broken(document: object) -> pl.LazyFrame:
        raise ParseError("line 3: not understood")

    failed = place.run(replace(spec, parse=broken), DAYS)
    assert {result.state for result in failed} == {"failed"}
    simulator.forget_requests()
    assert {result.state for result in place.replay(spec, DAYS)} == {"complete"}
    assert simulator.requests == []
    assert_sound(place, spec)


def _land(place: Place, name: str, body: bytes, day: date, at: datetime = NOW) -> list[DayResult]:
    from intel_assets.lakehouse.lake import Lake
    from intel_assets.sources.pipeline import Pipeline

    file = place.folder / f"body-{at:%H%M}"
    file.write_bytes(body)
    with Landing(place.layout) as landing:
        lake = Lake(place.layout, landing, lambda: at)
        pipeline = Pipeline(lake, quick(name), f"land-{at:%H%M}")
        return list(pipeline.land({file: Window(day, day)}, at))


def _assert_evidence(place: Place, spec, result: DayResult, *, partial: bool) -> None:
    """Hold that the journal tells the failure, and that what came is in landing."""
    last = place.journal(spec).filter(pl.col("error_class").is_not_null()).tail(1)
    row = last.row(0, named=True)
    assert row["error"]
    assert result.error is not None
    assert row["error_class"] == type(result.error).__name__
    if partial:
        assert f"body {row['body_sha256'][:16]}…" in row["error"]
        held = dict(bodies(place))
        assert len(held[row["body_sha256"]]) == row["bytes"]
    else:
        assert row["body_sha256"] is None
    assert_landing_sound(place)


def _assert_a_good_run_completes(place: Place, spec, simulator: Simulator) -> None:
    simulator.faults.clear()
    results = by_day(place.run(replace(spec, policy=QUICK), DAYS))
    assert {results[day].state for day in DAYS} == {"complete"}
    assert_sound(place, spec)
