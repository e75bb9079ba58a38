"""The commands that watch over the lake, as an operator meets them: in the played world's time."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import nbformat
import polars as pl
import pytest
from nbclient import NotebookClient

from intel_assets.alerts.tables import DELIVERIES
from intel_assets.coverage.assess import record, record_attempts
from intel_assets.coverage.plan import Ask
from intel_assets.coverage.tables import STATES
from intel_assets.engine import open_engine
from intel_assets.lakehouse.format import check_format
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.tables import Table
from intel_assets.settings import Settings
from intel_assets.simulator.server import Simulator
from intel_assets.sources import registry
from intel_assets.sources.spec import Quota, SourceSpec
from intel_assets_tests.e2e.commands import ROOT, TODAY, Answer, Intel, assert_short, environment_of

PLAYED_TIME = {"INTEL_CLOCK": "simulator"}
FROM_MAY = PLAYED_TIME | {"INTEL_HISTORY_FROM": "2025-05-01"}
FIVE = {"INTEL_SOURCES": "ipsum,malicious_ip,threatfox_ips,tweetfeed,urlhaus"}
WHOLE = {"INTEL_HISTORY_FROM": "2025-06-08", "INTEL_SOURCES": "urlhaus,ipsum"}
URLHAUS_DAYS = 30


@pytest.fixture
def watch(intel: Intel) -> Intel:
    """The command on a lake of its own, in the played world's time."""

    def run(*arguments: str, environment: Mapping[str, str] | None = None) -> Answer:
        return intel(*arguments, environment=PLAYED_TIME | dict(environment or {}))

    return run


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory, world: Simulator) -> Path:
    """An installation whose lake was filled in the played world's time; tests only ask it."""
    folder = tmp_path_factory.mktemp("watched")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (environment_of(folder, world) | FROM_MAY).items():
            patch.setenv(name, value)
        settings = Settings()
        days = [TODAY.date() - timedelta(days=n) for n in range(3)]
        with open_engine(settings, world.clock) as engine:
            for spec in registry.load(["urlhaus", "tweetfeed", "ipsum"]):
                asked = days if spec.kind == "event" else days[:1]
                with engine.upstream(spec) as upstream:
                    list(engine.pipeline(spec, "test").materialize(asked, upstream))
        from intel_assets.cli import present

        record(settings.layout, present.look(settings, registry.load()))
    return folder


@pytest.fixture
def look(intel: Intel, watched: Path) -> Intel:
    """The command on the lake that was filled."""

    def run(*arguments: str, environment: Mapping[str, str] | None = None) -> Answer:
        own = {"INTEL_LAKE": str(watched / "lake"), "INTEL_STATE": str(watched / "state")}
        return intel(*arguments, environment=FROM_MAY | own | dict(environment or {}))

    return run


@contextmanager
def _fault(world: Simulator, kind: str, host: str) -> Iterator[None]:
    number = world.faults.add(kind, host=host, times=None)
    try:
        yield
    finally:
        world.faults.remove(number)


# -- gaps ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_gaps_are_ranges_with_what_is_done_about_them(look: Intel):
    answer = look("gaps", "tweetfeed")
    assert answer.code == 0
    head, line = answer.out.splitlines()
    assert head.split() == [
        *("source", "days", "n", "state", "since", "deadline", "tries", "next", "reason")
    ]
    assert "tweetfeed  2025-05-01..2025-06-07  38  missing" in line
    assert "asked for as soon as a run is free" in line
    assert line.rstrip().endswith("not asked for yet")


@pytest.mark.slow
def test_gaps_without_a_daemon_say_that_nothing_fills_them(look: Intel):
    assert "`intel backfill SOURCE` fills now." in look("gaps").err


def test_no_gap_is_said_in_one_line(look: Intel):
    answer = look("gaps", "ipsum")
    assert (answer.code, answer.out) == (0, "No gap in 1 day of 1 source.\n")
    assert answer.err == ""


def test_gaps_for_machines_are_ranges_with_moments(look: Intel):
    (found,) = json.loads(look("gaps", "tweetfeed", "--json").out)
    assert (found["first"], found["last"], found["days"]) == ("2025-05-01", "2025-06-07", 38)
    assert (found["state"], found["remedy"], found["attempts"]) == ("missing", "fetch", 0)
    assert found["next"] == "asked for as soon as a run is free"
    assert json.loads(look("gaps", "ipsum", "--json").out) == []


def test_gaps_with_all_tell_of_days_that_are_not_due_and_of_sources_that_are_off(look: Intel):
    told = {(row["source"], row["state"]) for row in json.loads(look("gaps", "--json").out)}
    off = {"INTEL_DISABLED": "tweetfeed"}
    every = json.loads(look("gaps", "--all", "--json", environment=off).out)
    assert ("tweetfeed", "missing") in told
    assert {("tweetfeed", "disabled"), ("urlhaus", "not_due")} <= {
        (row["source"], row["state"]) for row in every
    }
    assert not [row for row in every if row["state"] == "missing" and row["source"] == "tweetfeed"]


def test_gaps_write_nothing(look: Intel, watched: Path):
    before = sorted((watched / "lake").rglob("*"))
    look("gaps")
    look("gaps", "--explain", "urlhaus", "2025-06-08")
    look("health")
    assert sorted((watched / "lake").rglob("*")) == before


def test_gaps_of_an_empty_lake_are_all_that_is_expected(watch: Intel):
    found = json.loads(watch("gaps", "--json", environment=FIVE).out)
    assert {row["source"]: row["days"] for row in found} == {
        "ipsum": 1,  # of a state feed, today is all that can be had
        "malicious_ip": 1,
        "threatfox_ips": 1,
        "tweetfeed": (TODAY.date() - date(2021, 8, 8)).days,
        "urlhaus": URLHAUS_DAYS - 1,
    }
    assert found[-1]["deadline"] == "2025-06-11T00:00:00Z"


@pytest.mark.parametrize(
    "arguments",
    [
        ["gaps"],
        ["gaps", "--explain", "urlhaus", "2025-06-08"],
        ["health"],
        ["source", "list"],
        ["backfill", "tweetfeed", "--dry-run"],
    ],
    ids=" ".join,
)
def test_commands_that_watch_import_no_dagster(
    watched: Path, world: Simulator, arguments: list[str]
):
    code = (
        "import sys; from intel_assets.cli import main\n"
        f"sys.argv = ['intel', *{arguments!r}]\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('dagster' in sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment_of(watched, world) | FROM_MAY,
        cwd=watched,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr.splitlines()[-1] == "False", done.stderr
    assert done.stdout


# -- the story of a day --------------------------------------------------------------------------


def test_a_day_is_explained_from_what_was_expected_to_what_comes_next(look: Intel):
    answer = look("gaps", "--explain", "urlhaus", "2025-06-08")
    assert answer.code == 0
    told = answer.out
    assert told.startswith("urlhaus 2025-06-08: complete\n")
    for part in ("Expected: every day, from 2025-05-12.", "Asked", "Held", "Checks"):
        assert part in told
    assert "Due 2025-06-09 02:00 UTC; it can be asked for until 2025-07-08 00:00 UTC." in told
    assert re.search(r"2025-06-10T12:00:00Z +fetched +200 +1 +[\d,]+ +[0-9a-f]{12} ", told)
    assert re.search(r"raw +urlhaus +complete +[\d,]+ +· +2025-06-10T12:00:00Z +yes", told)
    assert "volume" in told
    assert told.rstrip().endswith("Next: nothing; it is whole.")


def test_the_story_for_machines_has_every_part(look: Intel):
    told = json.loads(look("gaps", "--explain", "urlhaus", "2025-06-08", "--json").out)
    assert (told["state"], told["next"]) == ("complete", "nothing; it is whole")
    assert told["expected"]["due"] == "2025-06-09T02:00:00Z"
    (request,) = told["requests"]
    assert (request["outcome"], request["status"]) == ("fetched", 200)
    assert len(request["body_sha256"]) == 64
    assert {row["name"] for row in told["held"]} == {"urlhaus", "urlhaus_daily"}
    assert all(row["files"] for row in told["held"])
    assert [row["state"] for row in told["history"]] == ["complete"]


@pytest.mark.slow
def test_the_story_of_a_failure_names_the_error(watch: Intel, world: Simulator):
    with _fault(world, "unauthorized", "raw.githubusercontent"):
        assert watch("run", "tweetfeed", "--from", "2025-05-02", "--to", "2025-05-02").code == 4
    told = watch("gaps", "--explain", "tweetfeed", "2025-05-02").out
    assert re.search(r"failed +40[13] ", told)
    assert "Unauthorized" in told or "refuse" in told
    assert told.startswith("tweetfeed 2025-05-02: missing\n")
    assert "Next: asked for at 2025-06-10 12:05 UTC; the source is down." in told


@pytest.mark.parametrize(
    ("source", "day", "why"),
    [
        ("urlhaus", "2017-01-01", "URLhaus begins on 2018-03-01"),
        ("urlhaus", "2025-04-30", "INTEL_HISTORY_FROM begins on 2025-05-01"),
        ("urlhaus", "2025-05-10", "was first asked on 2025-06-10, and it reaches back 30 days"),
        ("ipsum", "2025-06-09", "a state feed has no past to ask for"),
    ],
)
def test_a_day_that_nobody_expects_is_explained_too(look: Intel, source: str, day: str, why: str):
    answer = look("gaps", "--explain", source, day)
    assert answer.code == 0
    assert f"{source} {day}: not expected" in answer.out
    assert why in answer.out


def test_a_story_that_cannot_be_told_is_refused(look: Intel):
    assert_short(look("gaps", "--explain", "urlhaus", "2999-01-01"), 2)
    assert_short(look("gaps", "--explain", "urlhause", "2025-06-01"), 2)
    assert_short(look("gaps", "--explain", "urlhaus", "soon"), 2)
    assert_short(look("gaps", "--explain", "urlhaus"), 2)


# -- backfill ------------------------------------------------------------------------------------


def test_a_backfill_shows_its_plan_and_asks_nobody_when_dry(look: Intel, world: Simulator):
    world.forget_requests()
    answer = look("backfill", "tweetfeed", "--from", "2025-05-01", "--dry-run")
    assert answer.code == 0
    assert re.findall(r"^fetch +(\S+) +(\S+) +(\d+) +(\d+)", answer.out, re.M) == [
        ("2025-06-10", "2025-06-10", "1", "1"),
        ("2025-05-31", "2025-06-07", "8", "8"),
        ("2025-05-01", "2025-05-30", "30", "30"),
    ]
    assert answer.err == "3 ranges, 39 requests, no quota.\n"
    assert world.requests == []


@pytest.mark.slow
def test_a_backfill_fills_what_is_missing_and_nothing_else(watch: Intel, world: Simulator):
    days = ["--from", "2025-05-01", "--to", "2025-05-03"]
    assert watch("run", "tweetfeed", "--from", "2025-05-02", "--to", "2025-05-02").code == 0
    world.forget_requests()
    answer = watch("backfill", "tweetfeed", *days)
    assert answer.code == 0, answer.err
    assert len(world.requests) == 2
    assert "tweetfeed: 3 of 3 days stand." in answer.err
    again = watch("backfill", "tweetfeed", *days)
    assert (again.code, again.out) == (0, "")
    assert again.err == "tweetfeed: nothing to fill, 3 days of 2025-05-01..2025-05-03 stand.\n"
    assert len(world.requests) == 2
    # The played clock stands still, so no state is newer than another: all that were are asked for.
    asked = "SELECT DISTINCT day FROM ops.coverage WHERE state = 'complete' ORDER BY day"
    recorded = watch("sql", asked, "--history", "--format", "csv")
    assert recorded.out.split()[1:] == ["2025-05-01", "2025-05-02", "2025-05-03"]


@pytest.mark.slow
def test_a_backfill_of_everything_asks_for_whole_days_too(watch: Intel, world: Simulator):
    days = ["--from", "2025-05-01", "--to", "2025-05-02"]
    assert watch("backfill", "tweetfeed", *days).code == 0
    world.forget_requests()
    assert watch("backfill", "tweetfeed", *days, "--all").code == 0
    assert len(world.requests) == 2


@pytest.mark.slow
def test_a_backfill_says_what_is_still_missing_and_why(watch: Intel, world: Simulator):
    with _fault(world, "unauthorized", "raw.githubusercontent"):
        answer = watch("backfill", "tweetfeed", "--from", "2025-05-01", "--to", "2025-05-02")
    assert answer.code == 4
    assert "tweetfeed: 0 of 2 days stand." in answer.err
    assert "2025-05-01..2025-05-02: missing" in answer.err


@pytest.mark.slow
def test_a_backfill_builds_what_was_received_again_without_asking(
    watch: Intel, world: Simulator, tmp_path: Path
):
    days = ["--from", "2025-05-01", "--to", "2025-05-02"]
    assert watch("backfill", "tweetfeed", *days).code == 0
    shutil.rmtree(tmp_path / "lake" / "raw" / "tweetfeed" / "day=2025-05-02")
    shutil.rmtree(tmp_path / "lake" / "cleaned" / "tweetfeed" / "day=2025-05-02")
    (gap,) = [row for row in json.loads(watch("gaps", "tweetfeed", "--json").out)
              if row["last"] == "2025-05-02"]  # fmt: skip
    assert (gap["state"], gap["remedy"]) == ("missing", "replay")
    world.forget_requests()
    plan = watch("backfill", "tweetfeed", *days, "--dry-run")
    assert re.search(r"replay +2025-05-02 +2025-05-02 +1 +0", plan.out)


def test_the_past_of_a_state_feed_is_refused_and_asked_of_nobody(watch: Intel, world: Simulator):
    world.forget_requests()
    for more in ([], ["--dry-run"]):
        answer = watch("backfill", "ipsum", "--from", "2025-05-01", "--to", "2025-05-03", *more)
        assert_short(answer, 4)
        assert "ipsum is a state feed: it says what holds now" in answer.err
        assert "only today (2025-06-10)" in answer.err
    assert world.requests == []


def test_days_that_are_lost_are_named_and_not_asked_for(watch: Intel, world: Simulator):
    answer = watch("backfill", "urlhaus", "--from", "2025-05-10", "--dry-run")
    assert answer.code == 0
    assert "Lost, and not asked for: 2025-05-10 to 2025-05-11." in answer.err
    assert re.search(r"fetch +2025-05-12 +2025-06-10 +30 +1 +2025-06-11T00:00:00Z", answer.out)
    refused = watch("backfill", "urlhaus", "--from", "2025-03-01", "--to", "2025-03-02")
    assert_short(refused, 4)
    assert "urlhaus reaches back 30 days: 2025-03-01 to 2025-03-02" in refused.err


def test_a_backfill_keeps_inside_its_quota_and_says_what_it_would_use(
    look: Intel, monkeypatch: pytest.MonkeyPatch
):
    load = registry.load

    def with_a_quota(wanted: Iterable[str] = ()) -> list[SourceSpec]:
        daily = {"cadence": "5 1 * * *", "quota": Quota(20, "month"), "late_days": 0}
        return [replace(spec, **daily) for spec in load(wanted)]

    monkeypatch.setattr(registry, "load", with_a_quota)
    answer = look("backfill", "tweetfeed", "--from", "2025-05-01", "--dry-run")
    assert answer.code == 0
    # 3 of 20 were used for the days that are held; up to half is kept for what is new.
    assert "3 ranges" not in answer.err
    assert "requests of the 7 that the quota leaves for this now (20 a month)." in answer.err
    assert "The quota does not suffice for 2025-05-01 to 2025-06-01: run this again" in answer.err
    asked = re.findall(r"^fetch +\S+ +\S+ +\d+ +(\d+)", answer.out, re.M)
    assert sum(map(int, asked)) == 7


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["urlhause"], 2, "Did you mean 'urlhaus'?"),
        (["urlhaus", "--from", "2025-06-09", "--to", "2025-06-08"], 2, "ends before it begins"),
        (["urlhaus", "--to", "2025-06-11"], 2, "2025-06-11 lies in the future."),
        (["urlhaus", "--from", "x"], 2, "'x' is no day."),
    ],
)
def test_a_backfill_that_makes_no_sense_is_refused(
    watch: Intel, arguments: list[str], code: int, said: str
):
    answer = watch("backfill", *arguments)
    assert_short(answer, code)
    assert said in answer.err


# -- sources -------------------------------------------------------------------------------------


def test_the_list_of_sources_says_what_is_on_and_what_answered(look: Intel):
    rows = json.loads(look("source", "list", "--json").out)
    found = {row["source"]: row for row in rows}
    assert [row["source"] for row in rows] == registry.names()
    assert found["urlhaus"]["on"] is True
    assert found["urlhaus"]["last_success"] == "2025-06-10T12:00:00Z"
    assert found["urlhaus"]["next"] == "2025-06-10T12:15:00Z"
    assert found["malicious_ip"]["last_success"] is None
    assert found["ipsum"]["kind"] == "state"
    table = look("source", "list")
    assert re.search(r"urlhaus +URLhaus +event +\*/15 \* \* \* \* +yes", table.out)


def test_a_source_is_switched_off_with_a_reason_and_on_again(watch: Intel, world: Simulator):
    assert watch("source", "disable", "tweetfeed", "--why", "too loud").out == (
        "tweetfeed is switched off.\n"
    )
    (row,) = [r for r in json.loads(watch("source", "list", "--json").out) if not r["on"]]
    assert row["source"] == "tweetfeed"
    assert re.fullmatch(r"switched off by \S+@\S+ on 2025-06-10: too loud", row["why"])
    assert row["next"] is None
    status = json.loads(watch("status", "--json").out)
    assert {r["source"]: r["on"] for r in status}["tweetfeed"] == "off"
    world.forget_requests()
    refused = watch("run", "tweetfeed")
    assert_short(refused, 3)
    assert "too loud" in refused.err
    assert "`intel source enable tweetfeed` switches it on." in refused.err
    assert_short(watch("backfill", "tweetfeed"), 3)
    assert world.requests == []
    world.clock.advance(60)
    try:
        assert watch("source", "enable", "tweetfeed").out == "tweetfeed is switched on.\n"
    finally:
        world.clock.set(TODAY)
    assert all(r["on"] for r in json.loads(watch("source", "list", "--json").out))


@pytest.mark.slow
def test_a_run_of_all_leaves_out_what_is_off_and_says_why(watch: Intel):
    off = {"INTEL_SOURCES": "ipsum,urlhaus", "INTEL_DISABLED": "urlhaus"}
    answer = watch("run", environment=off)
    assert answer.code == 0
    lines = answer.err.splitlines()
    assert "urlhaus: left out, switched off by INTEL_DISABLED." in lines
    assert "tweetfeed: left out, INTEL_SOURCES does not name it." in lines
    assert [line for line in lines if "left out" not in line][0].startswith("ipsum 2025-06-10")


@pytest.mark.parametrize(
    ("off", "do"),
    [
        ({"INTEL_DISABLED": "urlhaus"}, "Take urlhaus out of INTEL_DISABLED"),
        ({"INTEL_SOURCES": "ipsum"}, "Add urlhaus to INTEL_SOURCES"),
    ],
)
def test_settings_win_over_switches_and_that_is_said(watch: Intel, off: dict[str, str], do: str):
    answer = watch("source", "enable", "urlhaus", environment=off)
    assert answer.code == 0
    assert "It stays off:" in answer.err
    assert do in answer.err
    refused = watch("run", "urlhaus", environment=off)
    assert_short(refused, 3)
    assert do in refused.err


def test_a_source_without_its_key_is_left_out_with_the_name_of_the_key(watch: Intel):
    live = {"INTEL_MODE": "live", "INTEL_SOURCES": "urlhaus"}
    answer = watch("run", environment=live)
    assert answer.code == 0
    assert "urlhaus: left out, not configured: ABUSECH_AUTH_KEY is not set." in answer.err
    row = {r["source"]: r for r in json.loads(watch("status", "--json", environment=live).out)}
    assert row["urlhaus"]["on"] == "no key"


def test_a_source_that_there_is_not_cannot_be_switched(watch: Intel):
    for command in ("enable", "disable"):
        assert_short(watch("source", command, "urlhause"), 2)
    assert_short(watch("gaps", environment={"INTEL_DISABLED": "urlhause"}), 3)


# -- status --------------------------------------------------------------------------------------


def test_status_is_a_line_a_source_with_its_gaps_by_state(look: Intel):
    rows = {row["source"]: row for row in json.loads(look("status", "--json").out)}
    assert list(rows) == registry.names()
    tweetfeed, urlhaus = rows["tweetfeed"], rows["urlhaus"]
    assert tweetfeed["gaps"] == {"missing": 38}
    assert (tweetfeed["held"], tweetfeed["expected"]) == (2, 40)
    assert (urlhaus["held"], urlhaus["expected"], urlhaus["gaps"]) == (29, 29, {})
    assert (urlhaus["on"], urlhaus["last_success"]) == ("on", "2025-06-10T12:00:00Z")
    assert urlhaus["rows"] > 0
    assert rows["malicious_ip"]["last_success"] is None
    table = look("status").out
    assert re.search(r"tweetfeed +on +2025-06-10T12:00:00Z +2 +40 +38 missing +[\d,]+ +\d+", table)


def test_status_before_any_coverage_goes_by_what_the_partitions_came_to(ask: Intel):
    rows = {row["source"]: row for row in json.loads(ask("status", "--json").out)}
    assert (rows["tweetfeed"]["held"], rows["tweetfeed"]["expected"]) == (4, None)
    assert rows["tweetfeed"]["rows"] > 0


@pytest.mark.slow
def test_a_run_records_how_every_day_stands(watch: Intel):
    assert watch("run", "ipsum", environment=FIVE).code == 0
    count = (
        "SELECT source, state, count(*) FROM ops.coverage WHERE state <> 'disabled' "
        "GROUP BY ALL ORDER BY ALL"
    )
    assert watch("sql", count, "--format", "csv").out.splitlines()[1:] == [
        "ipsum,complete,1",
        "malicious_ip,missing,1",
        "threatfox_ips,missing,1",
        f"tweetfeed,missing,{(TODAY.date() - date(2021, 8, 8)).days}",
        "tweetfeed,not_due,1",
        f"urlhaus,missing,{URLHAUS_DAYS - 1}",
        "urlhaus,not_due,1",
    ]


# -- health --------------------------------------------------------------------------------------


def _health(answer: Answer) -> dict[str, object]:
    found: dict[str, object] = json.loads(answer.out)
    assert found["healthy"] is (answer.code == 0), answer
    return found


def test_all_is_well_where_nothing_is_about_to_be_lost(look: Intel):
    found = _health(look("health", "--json", environment=WHOLE))
    assert found["problems"] == []
    assert found["gaps"] == {}
    urlhaus = next(row for row in found["sources"] if row["source"] == "urlhaus")
    assert (urlhaus["held"], urlhaus["last_success"]) == (2, "2025-06-10T12:00:00Z")
    assert found["daemon"] == {"state": "never started", "seen": None}
    assert found["alerts"] == {"open": 0, "given_up": 0}
    assert all(disk["free_bytes"] > 0 for disk in found["disks"])
    assert look("health", environment=WHOLE).out.startswith("All is well.\n")


def test_days_that_are_lost_within_a_day_are_a_problem(watch: Intel):
    answer = watch("health", environment={"INTEL_SOURCES": "urlhaus"})
    assert answer.code == 1
    assert answer.out.startswith(
        "wrong: urlhaus: 1 day can be had for less than a day: 2025-05-12\n"
    ), answer.out


@pytest.mark.slow
def test_days_that_were_lost_of_late_are_a_problem_and_old_ones_are_not(
    watch: Intel, world: Simulator
):
    """Asked in May, and then not until June: what rolled out of the dump meanwhile is lost."""
    world.clock.set(TODAY - timedelta(days=40))
    only = {"INTEL_SOURCES": "urlhaus"}
    try:
        assert watch("run", "urlhaus", environment=only).code == 0
        world.clock.set(TODAY)
        assert watch("run", "urlhaus", environment=only).code == 0
        found = _health(watch("health", "--json", environment=only))
        world.clock.set(TODAY + timedelta(days=8))
        later = _health(watch("health", "--json", environment=only))
    finally:
        world.clock.set(TODAY)
    (problem,) = found["problems"]
    assert re.match(r"urlhaus: \d+ days? lost in the last 7 days: ", problem)
    assert not [said for said in later["problems"] if "lost" in said]


def test_days_that_nobody_tries_any_more_are_a_problem(watch: Intel, tmp_path: Path):
    only = {"INTEL_SOURCES": "tweetfeed", "INTEL_HISTORY_FROM": "2025-06-08"}
    spec, day = registry.load(["tweetfeed"])[0], date(2025, 6, 8)
    layout = Layout(str(tmp_path / "lake"))
    check_format(layout, create=True)
    for n in range(1, spec.attempts + 1):
        ask = Ask(spec.name, day, day, "fetch", n, 1, None, "it is missing")
        record_attempts(layout, {f"key-{n}": ask}, TODAY - timedelta(days=9 - n))
    found = _health(watch("health", "--json", environment=only))
    (problem,) = found["problems"]
    assert problem == ("tweetfeed: 1 day not tried any more, a person has to look: 2025-06-08")
    told = watch("gaps", "--explain", "tweetfeed", "2025-06-08", environment=only).out
    assert "tweetfeed 2025-06-08: failed" in told
    assert "Tried 6 of 6 times since it was last good." in told
    assert re.search(r"2025-06-07T12:00:00Z +6 +fetch +2025-06-08 +2025-06-08 +1 +it is", told)
    assert "Next: a person has to look." in told


def test_a_daemon_that_stopped_is_a_problem_and_one_that_lives_is_none(
    look: Intel, watched: Path, tmp_path: Path
):
    with _instance(tmp_path) as (instance, own):
        _beat(instance, datetime.now(UTC))
        assert _health(look("health", "--json", environment=WHOLE | own))["daemon"]["state"] == (
            "alive"
        )
        _beat(instance, datetime.now(UTC) - timedelta(minutes=10))
        found = _health(look("health", "--json", environment=WHOLE | own))
    assert found["daemon"]["state"] == "dead"
    (problem,) = found["problems"]
    assert problem.startswith("Dagster's daemon does not run; its last sign of life was")


def test_days_that_a_run_is_at_are_filling(look: Intel, tmp_path: Path):
    with _instance(tmp_path) as (instance, own):
        instance.add_run(
            dg.DagsterRun(
                job_name="tweetfeed",
                run_id="0" * 32,
                status=dg.DagsterRunStatus.STARTED,
                tags={
                    "source": "tweetfeed",
                    "dagster/asset_partition_range_start": "2025-06-01",
                    "dagster/asset_partition_range_end": "2025-06-02",
                },
            )
        )
        found = json.loads(look("gaps", "tweetfeed", "--json", environment=own).out)
        left = look("backfill", "tweetfeed", "--from", "2025-06-01", "--to", "2025-06-02",
                    environment=own)  # fmt: skip
    filling = next(row for row in found if row["state"] == "filling")
    assert (filling["first"], filling["last"]) == ("2025-06-01", "2025-06-02")
    assert filling["next"] == "a run is at it"
    assert left.err == "A run is at 2025-06-01 to 2025-06-02.\n"


@contextmanager
def _instance(folder: Path) -> Iterator[tuple[dg.DagsterInstance, dict[str, str]]]:
    """Give an instance of Dagster in files, and the environment that leads to it."""
    storage = folder / "instance"
    storage.mkdir()
    own = {"INTEL_DAGSTER_STORAGE": str(storage)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(ROOT))
        patch.setenv("INTEL_DAGSTER_STORAGE", str(storage))
        with dg.DagsterInstance.get() as instance:
            instance.get_runs(limit=1)
            yield instance, own


def _beat(instance: dg.DagsterInstance, at: datetime) -> None:
    from dagster._daemon.types import DaemonHeartbeat

    for kind in ("SENSOR", "SCHEDULER"):
        instance.add_daemon_heartbeat(DaemonHeartbeat(at.timestamp(), kind, "id", []))


@pytest.mark.slow
def test_an_alert_that_could_not_be_delivered_is_a_problem(watch: Intel, tmp_path: Path):
    assert watch("run", "ipsum").code == 0
    only = {"INTEL_SOURCES": "ipsum"}
    assert _health(watch("health", "--json", environment=only))["problems"] == []
    row = {
        "alert_id": "a",
        "alert_recorded_at": TODAY - timedelta(hours=3),
        "channel": "slack",
        "target": "hooks.example",
        "outcome": "given_up",
        "attempts": 12,
        "error": "503",
        "recorded_at": TODAY - timedelta(hours=2),
    }
    frame = pl.DataFrame([row], schema=DELIVERIES.schema)
    Table(Layout(str(tmp_path / "lake")), DELIVERIES).append(frame, {})
    found = _health(watch("health", "--json", environment=only))
    assert found["problems"] == ["1 alert message could not be delivered in the last 7 days"]
    assert found["alerts"] == {"open": 0, "given_up": 1}


def test_a_disk_that_is_nearly_full_is_a_problem(look: Intel, monkeypatch: pytest.MonkeyPatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100 << 30, 95 << 30, 5 << 30))
    found = _health(look("health", "--json", environment=WHOLE))
    (problem,) = found["problems"]
    assert re.fullmatch(r"the disk of \S+ is nearly full: 5% is free", problem)


# -- the heat-map --------------------------------------------------------------------------------


def test_coverage_by_day_is_a_table_with_a_level_for_every_state(look: Intel):
    query = (
        "SELECT source, state, level, held, count(*) AS days FROM aggregated.coverage_daily "
        "WHERE source = 'tweetfeed' GROUP BY ALL ORDER BY level"
    )
    assert look("sql", query, "--format", "csv").out.splitlines()[1:] == [
        "tweetfeed,not_due,1,False,1",
        "tweetfeed,complete,2,True,2",
        "tweetfeed,missing,7,False,38",
    ]


def test_every_state_has_a_level_and_a_colour():
    sql = (ROOT / "intel_assets/coverage/sql/coverage_daily.sql").read_text("utf-8")
    levels = dict(re.findall(r"WHEN '(\w+)' THEN (\d+)", sql))
    assert set(levels) == set(STATES)
    notebook = (ROOT / "notebooks/coverage.ipynb").read_text("utf-8")
    coloured = set(re.findall(r"\b(\d+): \(\\\"[a-z ]+\\\", \\\"#", notebook))
    assert coloured == set(levels.values())


@pytest.mark.slow
def test_every_figure_of_the_notebook_has_data(
    watched: Path, world: Simulator, monkeypatch: pytest.MonkeyPatch
):
    for name, value in (environment_of(watched, world) | FROM_MAY).items():
        monkeypatch.setenv(name, value)
    path = ROOT / "notebooks" / "coverage.ipynb"
    book = nbformat.read(path, as_version=4)
    looked = "[len(a.patches) + len(a.images) for a in plt.gcf().axes]"
    for cell in book.cells:
        cell.source = cell.source.replace("plt.show()", f"print('drawn', {looked}); plt.show()")
    client = NotebookClient(
        book,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    )
    outputs = [out for cell in client.execute().cells for out in cell.get("outputs", ())]
    said = "".join(out.get("text", "") for out in outputs)
    drawn = [int(n) for n in re.findall(r"drawn \[(\d+)\]", said)]
    assert len(drawn) == 3
    assert all(drawn)
    assert sum("image/png" in out.get("data", {}) for out in outputs) == 3
