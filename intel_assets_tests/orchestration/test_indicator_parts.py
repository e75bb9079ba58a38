"""The stored facts of indicators: whatever way the sightings came, as if all were made at once."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intel_assets.lakehouse import maintenance
from intel_assets.lakehouse.tables import Rewrite, Table
from intel_assets.threat.gold import parts
from intel_assets_tests.orchestration.gold_lake import (
    FEEDS,
    LISTS,
    GoldLake,
    address,
    at,
    day,
    spec,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def lake(tmp_path: Path) -> GoldLake:
    return GoldLake(tmp_path / "lake")


@contextmanager
def another() -> Iterator[GoldLake]:
    folder = Path(tempfile.mkdtemp(prefix="gold-lake-"))
    try:
        yield GoldLake(folder / "lake")
    finally:
        shutil.rmtree(folder)


def table_of(lake: GoldLake) -> DeltaTable:
    found = Table(lake.lake.layout, spec("indicator_parts").contract).open()
    assert found is not None
    return found


def test_facts_are_stored_in_a_base_and_then_beside_it(lake: GoldLake):
    lake.say("threatfox", 0, range(400))
    lake.sightings(0)
    first = lake.parts()
    assert (first.rows, first.written, first.numbers["recent"]) == (400, True, 0)
    lake.say("threatfox", 1, [3])
    lake.sightings(1)
    second = lake.parts()
    assert (second.rows, second.numbers["made"], second.numbers["recent"]) == (401, 1, 1)
    assert lake.facts().height == 400
    row = lake.facts().filter(pl.col("indicator") == address(3)).row(0, named=True)
    assert row["first_seen"].date() == day(0)
    assert row["last_seen"].date() == day(1)
    assert row["listings"][0]["days"] == 2


def test_nothing_new_writes_nothing(lake: GoldLake):
    lake.say("threatfox", 0, range(5))
    lake.sightings(0)
    first = lake.parts()
    again = lake.parts()
    assert not again.written
    assert (again.data_version, again.delta_version) == (first.data_version, first.delta_version)


def test_a_table_that_was_compacted_holds_nothing_new(lake: GoldLake):
    for number in range(2):
        lake.say("threatfox", number, range(number, number + 3))
        lake.sightings(number)
    first = lake.parts()
    sightings = Table(lake.lake.layout, spec("sightings").contract).open()
    assert sightings is not None
    lake.say("threatfox", 0, range(4))
    lake.sightings(0)
    lake.say("threatfox", 0, range(3))
    lake.sightings(0)
    again = lake.parts()
    assert not again.written
    assert again.data_version == first.data_version
    # What was taken in is noted all the same, so that nobody has to look that far back again.
    assert again.delta_version == first.delta_version + 1
    assert lake.parts().delta_version == again.delta_version


def test_an_indicator_without_a_sighting_is_gone(lake: GoldLake):
    lake.say("threatfox", 0, [1, 2])
    lake.sightings(0)
    lake.parts()
    lake.say("threatfox", 0, [1])
    lake.sightings(0)
    lake.parts()
    assert lake.facts()["indicator"].to_list() == [address(1)]
    lake.say("urlhaus", 2, [2])
    lake.sightings(2)
    lake.parts()
    assert lake.facts()["indicator"].to_list() == [address(1), address(2)]


def test_when_the_past_cannot_be_read_any_more_all_is_made_anew(lake: GoldLake):
    lake.say("threatfox", 0, range(5))
    lake.sightings(0)
    lake.parts()
    lake.say("threatfox", 0, [1, 7])
    lake.sightings(0)
    sightings = Table(lake.lake.layout, spec("sightings").contract)
    stored = sightings.open()
    assert stored is not None
    maintenance.vacuum(stored, lake.lake.layout.store(sightings.uri), timedelta(0), shorter=True)
    made = lake.parts()
    assert (made.rows, made.numbers["recent"]) == (2, 0)
    assert lake.facts()["indicator"].to_list() == [address(1), address(7)]


def test_other_sql_makes_all_anew(lake: GoldLake, monkeypatch: pytest.MonkeyPatch):
    lake.say("threatfox", 0, range(5))
    lake.sightings(0)
    lake.parts()
    monkeypatch.setattr(parts, "code_of", lambda sql, stored: "another")
    made = lake.parts()
    assert (made.rows, made.numbers["made"]) == (5, 5)


def warn(lake: GoldLake, number: int, prefix: str) -> None:
    """Let the warninglists name the 256 addresses behind a prefix, and nothing else."""
    contract = spec("indicator_parts").sources["warninglists"]
    third = int(prefix.split(".")[2])
    row = {
        "day": day(number),
        "record_id": prefix,
        "record_digest": prefix,
        "known_from": at(number),
        "list": "ours",
        "list_title": "Ours",
        "match": "cidr",
        "value": f"{prefix}.0/24",
        "first_address": f"00000000000000000000ffffc612{third:02x}00",
        "last_address": f"00000000000000000000ffffc612{third:02x}ff",
        "matching_types": ["ipv4"],
        "version": str(number),
    }
    table = Table(lake.lake.layout, contract)
    frame = contract.conform(pl.DataFrame([row], schema_overrides=contract.schema))
    table.redone(lambda stored: table.rewrite(stored, Rewrite(frame, None), {"run_id": "test"}))


def test_other_warninglists_write_what_they_make_otherwise(lake: GoldLake):
    lake.say("threatfox", 0, range(300))
    lake.sightings(0)
    warn(lake, 0, "198.18.9")
    lake.parts()
    warn(lake, 1, "198.18.0")
    first = lake.parts()
    assert first.numbers["made"] == 256
    assert lake.facts()["suppressed"].sum() == 256
    warn(lake, 2, "198.18.1")
    lake.say("urlhaus", 2, [0, 299])
    lake.sightings(2)
    second = lake.parts()
    # 256 are named no more, 44 now; of the two that were sighted again each is one of them.
    assert second.numbers["made"] == 300
    facts = lake.facts()
    assert (
        facts.filter("suppressed")["indicator"]
        .sort()
        .equals(pl.Series("indicator", [address(n) for n in range(256, 300)]).sort())
    )
    assert facts.equals(lake.table("aggregated.indicators", as_of=lake.now))
    assert not lake.parts().written


def test_the_part_that_was_made_newer_is_merged_bucket_by_bucket(lake: GoldLake):
    lake.say("threatfox", 0, range(400))
    lake.sightings(0)
    lake.parts()
    lake.say("urlhaus", 1, range(0, 400, 2))
    lake.sightings(1)
    made = lake.parts()
    # Half of every bucket has grown: more than a tenth, and ten times of what was made is enough.
    assert made.numbers == {"made": 200, "recent": 0}
    assert made.rows == 400
    files = pl.DataFrame(table_of(lake).get_add_actions(flatten=True))
    assert files.height == 16
    assert set(files["partition.part"]) == {"base"}


def test_no_more_is_merged_at_a_time_than_a_sixteenth_or_ten_times_what_was_made():
    base = dict.fromkeys(parts.BUCKETS, 1000)
    recent = base | dict.fromkeys(parts.BUCKETS, 101) | {"7": 300, "9": 99}
    assert list(parts._due(base, recent, 0)) == ["7"]
    assert list(parts._due(base, recent, 10)) == ["7"]
    assert list(parts._due(base, recent, 250))[:2] == ["7", "0"]
    assert "9" not in set(parts._due(base, recent, 100_000))
    assert list(parts._due(base, dict.fromkeys(parts.BUCKETS, 0), 10)) == []


def test_rows_stand_in_the_bucket_of_their_hash_in_order(lake: GoldLake):
    lake.say("threatfox", 0, range(200))
    lake.sightings(0)
    lake.parts()
    found = lake.sql("SELECT bucket, left(sha256(indicator), 1) AS b FROM aggregated.indicators")
    assert found["bucket"].equals(found["b"])
    for file in table_of(lake).file_uris():
        stored = pl.read_parquet(file)["indicator"]
        assert stored.equals(stored.sort())


# -- whatever the order -------------------------------------------------------------------------

_numbers = st.integers(0, 5)
_steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("say"),
            st.sampled_from([*LISTS, *FEEDS]),
            _numbers,
            st.sets(st.integers(0, 9), max_size=6),
        ),
        st.tuples(st.just("build"), st.sets(_numbers, min_size=1)),
        st.tuples(st.just("parts")),
    ),
    min_size=1,
    max_size=8,
)


def _settled(lake: GoldLake) -> pl.DataFrame:
    lake.sightings(*range(6))
    lake.parts()
    return lake.facts()


@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(_steps)
def test_any_order_of_days_built_rebuilt_and_withdrawn_comes_to_the_same(steps: list[tuple]):
    with another() as lake, another() as other:
        last: dict[tuple[str, int], set[int]] = {}
        for kind, *given_ in steps:
            if kind == "say":
                feed, number, rows = given_
                lake.say(feed, number, sorted(rows), at(20 + len(last)))
                last[feed, number] = rows
            elif kind == "build":
                lake.sightings(*sorted(given_[0]))
            else:
                lake.parts()
        for (feed, number), rows in last.items():
            other.say(feed, number, sorted(rows))
        step_by_step, at_once = _settled(lake), _settled(other)
        assert step_by_step.equals(at_once)
        # And the same again, from the SQL alone.
        assert lake.table("aggregated.indicators", as_of=lake.now).equals(at_once)
