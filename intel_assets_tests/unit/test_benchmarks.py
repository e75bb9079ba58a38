"""The benchmarks at a tiny size: contenders do the same work, and bounds are judged."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from benchmarks import __main__ as command
from benchmarks import backfill, bulk, coverage, dump, gold, lookup, start, upkeep
from benchmarks.measure import Bound, Outcome


def _figures(outcome: Outcome) -> dict[str, float]:
    return dict(outcome.figures)


@pytest.mark.slow
def test_bulk_takes_every_record_all_the_way_and_says_time_and_memory(tmp_path: Path):
    outcome = bulk.run(rows=1_000, rounds=1, cache=tmp_path)

    figures = _figures(outcome)
    assert 980 < figures["records"] <= 1_000
    assert figures["pipeline, s"] > 0
    assert figures["DuckDB, s"] > 0
    assert [bound.at_most for bound in outcome.bounds] == [2.0, 2.5, 10.5]
    assert 0 < outcome.bounds[1].value < 2.5


@pytest.mark.slow
def test_backfill_tells_dagster_the_same_with_and_without_a_body():
    outcome = backfill.run(days=2, rounds=1)

    figures = _figures(outcome)
    assert figures["events"] == 2 * (3 + 4)
    assert figures["runs"] == 1
    assert [bound.at_most for bound in outcome.bounds] == [1.5]


@pytest.mark.alone
@pytest.mark.slow
def test_start_is_measured_in_fresh_processes():
    outcome = start.run(rounds=1)

    assert _figures(outcome)["import dagster, s"] > 0
    assert [bound.at_most for bound in outcome.bounds] == [1.0]


@pytest.mark.slow
def test_gold_says_the_same_as_the_plain_query():
    outcome = gold.run(days=3, share=0.02)

    figures = _figures(outcome)
    # Lists bring new addresses every day, and events two feeds of every day before.
    assert 0 < figures["one new day, indicators made"] < figures["indicators"]
    assert [bound.at_most for bound in outcome.bounds] == [3, 4096, 0.5]


@pytest.mark.slow
def test_look_ups_find_what_is_known_and_nothing_else():
    outcome = lookup.run(rounds=1, indicators=3_000)

    figures = _figures(outcome)
    assert figures["of them known"] == figures["looked up"] - 15 > 50
    assert figures["indicators made for a new day"] > 0
    assert [bound.at_most for bound in outcome.bounds] == [20, 1.5, 0.1]


@pytest.mark.slow
def test_upkeep_counts_the_files_and_asks_in_a_fresh_process():
    outcome = upkeep.run(days=2, times=6, rounds=1)

    figures = _figures(outcome)
    assert figures["runs"] == 12
    assert figures["tables"] >= 6
    assert [bound.at_most for bound in outcome.bounds] == [4, 1.5, 1.5]
    assert 1 <= outcome.bounds[0].value <= 4


@pytest.mark.slow
def test_coverage_is_measured_over_real_tables_and_finds_their_holes():
    outcome = coverage.run(rounds=1, sources=12, days=100)

    figures = _figures(outcome)
    # Ten of the sources hold the newer half of their days; of those held every fiftieth is missing.
    assert figures["expected days"] == 12 * 101
    assert figures["gaps"] == 2 * 2 + 10 * (50 + 1)
    assert figures["planned"] == 4
    assert [bound.at_most for bound in outcome.bounds] == [2.0, 0.2, 500.0, 5.0]


_COLUMNS = ("id", "dateadded", "url", "url_status", "last_online", "threat", "tags")
_COLUMNS += ("urlhaus_link", "reporter")


def test_a_dump_of_a_size_always_has_the_same_bytes(tmp_path: Path):
    dump.write(tmp_path / "one.csv", 500)
    dump.write(tmp_path / "two.csv", 500)

    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


def test_a_dump_spans_thirty_days_and_holds_what_careless_readers_break_on(tmp_path: Path):
    path = tmp_path / "dump.csv"
    dump.write(path, 3_000)

    schema = pl.Schema(dict.fromkeys(_COLUMNS, pl.String))
    rows = pl.read_csv(path, has_header=False, comment_prefix="#", schema=schema)
    assert rows["dateadded"].str.head(10).n_unique() == 30
    urls = rows["url"]
    odd = urls.str.contains(r"[^\x00-\x7f]|^HTTP|//[A-Z]|\[|@|^https?://[^/]+$|\"")
    assert 0.04 < odd.mean() < 0.12
    assert 0 < rows.height - rows["id"].n_unique() < 30


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(Outcome, "write", lambda self: _write(self, tmp_path))
    return tmp_path


_write = Outcome.write
_KEPT = Outcome("kept", "no-such-decision.md", [Bound("ratio", 1.0, 2.0)])
_SLOW = Outcome("slow", "no-such-decision.md", [Bound("ratio", 2.1, 2.0)], {"rows": 7})


def test_a_kept_bound_ends_with_0_and_is_written_as_json(results: Path):
    assert command.judge([_KEPT]) == 0
    written = json.loads((results / "kept.json").read_text("utf-8"))
    assert written["bounds"] == [{"what": "ratio", "value": 1.0, "at_most": 2.0, "kept": True}]


def test_an_exceeded_bound_ends_with_1_and_is_named(
    results: Path, capsys: pytest.CaptureFixture[str]
):
    assert command.judge([_KEPT, _SLOW]) == 1
    shown = capsys.readouterr().out
    assert "EXCEEDED" in shown
    assert "docs/decisions/no-such-decision.md does not say why" in shown


def test_an_exceeded_bound_with_a_decision_ends_with_0(
    results: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Outcome, "explained", lambda self: True)

    assert command.judge([_SLOW]) == 0


def test_a_decision_counts_only_when_its_file_is_there(tmp_path: Path):
    assert not _SLOW.explained(tmp_path)
    (tmp_path / _SLOW.decision).touch()
    assert _SLOW.explained(tmp_path)


def test_an_unknown_benchmark_is_refused_by_name(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        command.main(["bulky"])

    assert ended.value.code == 2
    assert (
        "there is no benchmark bulky; there are bulk, backfill, events, gold, lookup, outage, start"
        in capsys.readouterr().err
    )
