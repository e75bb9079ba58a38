"""Two code versions of a parser: what changes, what does not, and what tells."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from intel_assets.clock import Clock
from intel_assets.errors import ParseError
from intel_assets.ingest.documents import Document, Window
from intel_assets.simulator.urlhaus import csv_lines
from intel_assets.simulator.urlhaus_world import UrlhausWorld
from intel_assets_tests.conftest import NOON, MakeLake, TestLake, unhurried

FIRST = unhurried("urlhaus")
LATER = NOON + timedelta(hours=3)


def small_tags(document: Document) -> pl.LazyFrame:
    return FIRST.parse(document).with_columns(pl.col("tags").str.replace("Mozi", "mozi"))


def loud(raw: pl.LazyFrame) -> pl.LazyFrame:
    return FIRST.clean(raw).with_columns(pl.col("threat").str.to_uppercase())


MENDED = replace(FIRST, code_version="3", parse=small_tags)
CLEANER = replace(FIRST, code_version="3", clean=loud)


def ticking() -> Clock:
    """Return a clock on which every look is a second later."""
    ticks = (LATER + timedelta(seconds=second) for second in itertools.count())
    return lambda: next(ticks)


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    path = tmp_path / "dump.csv"
    records = UrlhausWorld(11, 0.1).published(NOON, NOON - timedelta(days=5))
    path.write_bytes(b"".join(csv_lines(records, NOON)))
    return path


@pytest.fixture
def lake(make_lake: MakeLake, dump: Path) -> TestLake:
    lake = make_lake(clock=ticking())
    lake.land(FIRST, {dump: None}, NOON)
    return lake


def days_of(lake: TestLake) -> list:
    return sorted(set(lake.table("raw.urlhaus")["day"]))


@pytest.mark.slow
def test_a_replay_with_a_mended_parser_changes_what_it_reads_and_not_when_it_was_known(
    lake: TestLake,
) -> None:
    before = lake.table("raw.urlhaus")
    results = lake.replay(MENDED, days_of(lake))
    after = lake.table("raw.urlhaus", history=True)

    assert {result.state for result in results} == {"complete"}
    both = before.join(after, on="id", suffix="_after", validate="1:1")
    assert both.height == before.height == after.height
    other = both["tags"].str.contains("Mozi")
    assert 0 < other.sum() < both.height
    assert both["tags_after"].equals(both["tags"].str.replace("Mozi", "mozi").alias("tags_after"))
    assert ((both["record_digest"] != both["record_digest_after"]) == other).all()
    assert (both["known_from"] == both["known_from_after"]).all()
    assert both["known_to_after"].null_count() == both.height
    assert (both["body_sha256"] == both["body_sha256_after"]).all()
    # As of the moment of the fetch means: read with today's code.
    assert lake.table("raw.urlhaus", as_of=NOON).equals(lake.table("raw.urlhaus"))


@pytest.mark.slow
def test_cleaned_aggregated_and_the_journal_follow_the_mended_parser(lake: TestLake) -> None:
    before = lake.table("cleaned.urlhaus")
    lake.replay(MENDED, days_of(lake))
    after = lake.table("cleaned.urlhaus")
    assert after["record_id"].equals(before["record_id"])
    assert "Mozi" in set(before["tags"].explode())
    assert set(after["tags"].explode()) == {*before["tags"].explode(), "mozi"} - {"Mozi"}
    newest = lake.sql(
        "SELECT code_version, digest FROM ops.partitions WHERE day >= DATE '2000-01-01'"
        " QUALIFY row_number() OVER (PARTITION BY layer, name, day ORDER BY recorded_at DESC) = 1"
    )
    assert set(newest["code_version"]) == {"3"}
    layout = lake.engine.settings.layout
    for layer in ("raw", "cleaned"):
        told = DeltaTable(layout.table_uri(layer, "urlhaus")).history(1)[0]
        assert (told["code_version"], told["run_id"], told["source"]) == ("3", "replay", "urlhaus")
    versions = lake.sql(
        "SELECT count(DISTINCT digest) AS digests FROM ops.partitions"
        " WHERE layer = 'raw' GROUP BY day"
    )
    assert set(versions["digests"]) == {2}


@pytest.mark.slow
def test_the_parsers_change_back_gives_the_first_tables_again(lake: TestLake) -> None:
    before = lake.tables("urlhaus", history=True)
    lake.replay(MENDED, days_of(lake))
    lake.replay(FIRST, days_of(lake))
    after = lake.tables("urlhaus", history=True)
    assert all(after[name].equals(frame) for name, frame in before.items())


def test_a_new_clean_is_applied_to_raw_that_did_not_change(lake: TestLake, dump: Path) -> None:
    before, commits = lake.tables("urlhaus"), lake.commits("urlhaus")
    lake.land(CLEANER, {dump: None}, LATER)
    after = lake.tables("urlhaus")
    assert lake.commits("urlhaus")["raw.urlhaus"] == commits["raw.urlhaus"]
    assert after["raw.urlhaus"].equals(before["raw.urlhaus"])
    assert set(before["cleaned.urlhaus"]["threat"]) == {"malware_download", "phishing"}
    assert set(after["cleaned.urlhaus"]["threat"]) == {"MALWARE_DOWNLOAD", "PHISHING"}
    same = [name for name in before["cleaned.urlhaus"].columns if name != "threat"]
    assert after["cleaned.urlhaus"].select(same).equals(before["cleaned.urlhaus"].select(same))


@pytest.mark.slow
def test_a_body_that_the_first_version_did_not_understand_is_read_by_the_second(
    make_lake: MakeLake, dump: Path
) -> None:
    def blind(document: Document) -> pl.LazyFrame:
        raise ParseError("line 1: never seen such a thing")

    lake = make_lake(clock=ticking())
    window = Window(NOON.date() - timedelta(days=4), NOON.date())
    failed = lake.land(replace(FIRST, parse=blind), {dump: window}, NOON)
    assert {result.state for result in failed} == {"failed"}
    assert lake.commits("urlhaus")["raw.urlhaus"] == -1

    results = lake.replay(replace(FIRST, code_version="3"), window.days)
    assert {r.state for r in results if r.requested} == {"complete"}
    expected = make_lake(name="other", clock=lambda: LATER)
    expected.land(FIRST, {dump: window}, NOON)
    assert lake.table("raw.urlhaus").equals(expected.table("raw.urlhaus"))
    row = lake.sql("FROM ops.fetches").row(0, named=True)
    assert (row["error_class"], row["received_at"]) == (None, NOON)
    assert row["parsed"] == row["added"] == expected.table("raw.urlhaus").height
