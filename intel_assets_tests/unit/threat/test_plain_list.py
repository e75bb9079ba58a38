"""Plain lists, read as they are."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intel_assets.errors import NoLongerAvailable, ParseError
from intel_assets.lakehouse.catalog import derived_sql
from intel_assets.sources import registry, snapshots
from intel_assets.sources.cleaning import clean
from intel_assets.threat import plain_list
from intel_assets.threat.plain_list import entries, indicator
from intel_assets.threat.plain_lists import IPSUM
from intel_assets_tests.unit.sources.fetches import DAY, NOON, document

LISTS = [spec for spec in registry.load() if spec.parse is plain_list.parse]


def parse(folder: Path, data: bytes) -> pl.DataFrame:
    return plain_list.parse(document(folder / "body", data)).collect()


def read(text: str) -> list[tuple[str, str | None, str | None]]:
    return entries(text).rows()


def cleaned(folder: Path, text: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return what is accepted of a list, and what is rejected."""
    raw = parse(folder, text.encode()).with_columns(
        record_id=IPSUM.record_id,
        record_digest=pl.concat_str("entry", "score", "note", ignore_nulls=True),
        body_sha256=pl.lit("x"),
        known_from=pl.lit(NOON),
        known_to=pl.lit(None, pl.Datetime("us", "UTC")),
    )
    found = clean(IPSUM, raw.with_columns(pl.col("record_id").fill_null("?")), "run")
    return found.accepted, found.quarantine


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("192.0.2.1", ("192.0.2.1", None, None)),
        ("  192.0.2.1\t", ("192.0.2.1", None, None)),
        ("192.0.2.1 # seen twice", ("192.0.2.1", None, "seen twice")),
        ("192.0.2.1#seen", ("192.0.2.1", None, "seen")),
        ("192.0.2.0/24 ; SBL1", ("192.0.2.0/24", None, "SBL1")),
        ("evil.example // x // y", ("evil.example", None, "x // y")),
        ("192.0.2.1\t10", ("192.0.2.1", "10", None)),
        ("192.0.2.1 10  # often", ("192.0.2.1", "10", "often")),
        ("2001:db8::1,7", ("2001:db8::1", "7", None)),
        ("0.0.0.0 7", ("0.0.0.0", "7", None)),
        ("0.0.0.0 ads.example", ("ads.example", None, None)),
        ("127.0.0.1\tads.example # ads", ("ads.example", None, "ads")),
        (":: ads.example", ("ads.example", None, None)),
        ("0.0.0.0", ("0.0.0.0", None, None)),
        ("::1", ("::1", None, None)),
        ("two words", ("two words", None, None)),
        ("a\tb  c", ("a\tb  c", None, None)),
        ("http://evil.example/a//b", ("http://evil.example/a//b", None, None)),
    ],
)
def test_a_line_is_an_entry_with_what_stands_behind_it(
    line: str, found: tuple[str, str | None, str | None]
) -> None:
    assert read(line) == [found]


def test_a_line_of_a_hosts_file_is_an_entry_for_each_name() -> None:
    assert read("0.0.0.0 a.example  b.example\tc.example # x") == [
        ("a.example", None, "x"),
        ("b.example", None, "x"),
        ("c.example", None, "x"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "# 192.0.2.1",
        "   ; 192.0.2.1",
        "//192.0.2.1",
        "",
        " \t ",
        "127.0.0.1 localhost localhost.localdomain",
        "::1 ip6-localhost ip6-loopback",
        "fe80::1%lo0 localhost",
        "ff02::1 ip6-allnodes",
        "255.255.255.255 broadcasthost",
        "0.0.0.0 0.0.0.0",
    ],
)
def test_what_says_nothing_of_the_world_is_no_entry(line: str) -> None:
    assert read(f"{line}\n192.0.2.1\n{line}") == [("192.0.2.1", None, None)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_line_ends_and_marks_of_encodings_do_not_matter(
    end: str, encoding: str, tmp_path: Path
) -> None:
    text = end.join(["# head", "192.0.2.1\t3", "", "evil.example"])
    for tail in ("", end):
        found = parse(tmp_path, (text + tail).encode(encoding))
        assert found["entry"].to_list() == ["192.0.2.1", "evil.example"]
        assert found["score"].to_list() == ["3", None]


def test_a_comment_in_another_encoding_costs_no_entry(tmp_path: Path) -> None:
    assert parse(tmp_path, "# Zürich\n192.0.2.1\n".encode("latin-1")).height == 1


def test_the_day_is_that_of_the_receipt(tmp_path: Path) -> None:
    late = document(tmp_path / "body", b"192.0.2.1\n", day=date(2026, 6, 9), number=13)
    assert late.fetch.received_at == datetime(2026, 6, 11, 1, tzinfo=UTC)
    assert plain_list.parse(late).collect()["day"].to_list() == [date(2026, 6, 11)]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "none of its 0 entries is an address, a range or a domain"),
        (b"# all quiet\r\n\r\n# END\n", "none of its 0 entries"),
        (b"\n <!DOCTYPE html>\n<title>evil.example</title>", "this is a page and no list"),
        (b"<html>", "this is a page and no list"),
        (b"Rate limit exceeded\n", "none of its 1 entries .* Rate limit exceeded"),
        (b'{"error": "192.0.2.1 may not ask"}', "none of its 1 entries"),
        (b"404: Not Found", "none of its 1 entries"),
        (b"127.0.0.1 localhost\n", "none of its 0 entries"),
        (b"\x00\x01\xff\xfe" * 100, "none of its 1 entries"),
    ],
    ids=["empty", "comments", "page", "tag", "excuse", "json", "404", "hosts", "bytes"],
)
def test_a_body_without_an_entry_is_not_believed(body: bytes, why: str, tmp_path: Path) -> None:
    with pytest.raises(ParseError, match=why):
        parse(tmp_path, body)


def test_a_list_is_believed_for_one_entry_among_much_else(tmp_path: Path) -> None:
    assert parse(tmp_path, b"not this one\n" * 500 + b"192.0.2.1\n").height == 501


def test_entries_are_typed_by_what_they_are_and_brought_into_form(tmp_path: Path) -> None:
    text = (
        "192.0.2.001 5\n192.0.2.7/24\n192.0.2.9/32\n2001:DB8:0::1\n2001:db8:0:0::/32\n"
        "Evil.EXAMPLE.\n192[.]0[.]2[.]3\nbücher.example\n::ffff:192.0.2.8"
    )
    accepted, rejected = cleaned(tmp_path, text)
    assert accepted.select("indicator", "indicator_type").rows() == [
        ("192.0.2.1", "ipv4"),
        ("192.0.2.0/24", "cidr"),
        ("192.0.2.9", "ipv4"),
        ("2001:db8::1", "ipv6"),
        ("2001:db8::/32", "cidr"),
        ("evil.example", "domain"),
        ("192.0.2.3", "ipv4"),
        ("xn--bcher-kva.example", "domain"),
        ("192.0.2.8", "ipv4"),
    ]
    assert accepted["raw_value"].to_list() == [line.split(" ")[0] for line in text.split("\n")]
    assert accepted["score"].to_list() == [5] + [None] * 8
    assert rejected.is_empty()


def test_a_snapshot_says_of_no_time_but_its_day(tmp_path: Path) -> None:
    accepted, _ = cleaned(tmp_path, "192.0.2.1")
    assert accepted["first_seen"].to_list() == [datetime(2026, 6, 10, tzinfo=UTC)]
    assert accepted["last_seen"].to_list() == [None]


@pytest.mark.parametrize(
    "value",
    ["192.0.2.256", "192.0.2.0/33", "2001:db8::/129", "localhost", "1.2.3.4:80", "a b", "x.1", "-"],
)
def test_what_is_no_indicator_goes_to_quarantine_as_delivered(value: str, tmp_path: Path) -> None:
    accepted, rejected = cleaned(tmp_path, f"192.0.2.1\n{value}\n")
    assert accepted["indicator"].to_list() == ["192.0.2.1"]
    assert rejected.select("rule", "column", "value").rows() == [
        ("not_nullable", "indicator", value)
    ]


def test_an_entry_on_two_lines_that_differ_is_two_records(tmp_path: Path) -> None:
    found = parse(tmp_path, b"192.0.2.1 # a\n192.0.2.2\n192.0.2.1 # b\n")
    assert IPSUM.record_id is not None
    assert found.select(IPSUM.record_id).to_series().to_list() == [None, "192.0.2.2", None]


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    found = entries(text)
    assert found.columns == ["entry", "score", "note"]
    assert found["entry"].null_count() == 0
    assert (found["entry"].str.strip_chars() != "").all()


PIECES = ["1.2.3.4", "/24", "/32", "/128", "::", "2001:db8", ".", "/", "evil", "example"]


@pytest.mark.slow
@given(st.lists(st.sampled_from(PIECES)))
def test_a_canonical_indicator_stays_as_it_is(pieces: list[str]) -> None:
    once = pl.DataFrame({"entry": ["".join(pieces)]}).select(entry=indicator(pl.col("entry")))
    assert once.select(entry=indicator(pl.col("entry"))).equals(once)


def test_a_past_day_is_refused_and_says_why() -> None:
    today = NOON.date()
    asked, refused = snapshots.askable(IPSUM, [date(2026, 6, 9), today, date(2026, 6, 11)], NOON)
    assert asked == [today]
    assert all(isinstance(error, NoLongerAvailable) for error in refused.values())
    assert str(refused[date(2026, 6, 9)]) == (
        "ipsum 2026-06-09: a state feed: what it held that day is lost, it can only be asked "
        "today (2026-06-10). If somebody kept the body, `intel land` takes it."
    )
    assert "it can only be asked today (2026-06-10)." in str(refused[date(2026, 6, 11)])


def test_an_event_feed_can_be_asked_for_any_day() -> None:
    (urlhaus,) = registry.load(["urlhaus"])
    assert snapshots.askable(urlhaus, [DAY, date(2019, 1, 1)], NOON) == (
        [DAY, date(2019, 1, 1)],
        {},
    )


@pytest.mark.parametrize("spec", LISTS, ids=lambda spec: spec.name)
def test_a_list_is_a_state_feed_that_is_asked_more_than_once_a_day(spec) -> None:
    assert (spec.kind, spec.look_back_days, spec.late_days) == ("state", 0, 0)
    assert len(spec.cadence.split()[1].split(",")) > 1 or spec.cadence.split()[1].startswith("*/")
    assert spec.stale_after is not None


def test_a_list_that_is_made_of_others_says_of_which() -> None:
    made_of = {spec.name: set(spec.derived_from) for spec in LISTS}
    assert {name for name, origins in made_of.items() if not origins} == {
        "blocklist_de",
        "spamhaus_drop",
    }
    assert "blocklist_de" in made_of["ipsum"] & made_of["malicious_ip"]
    assert "spamhaus_drop" in made_of["emergingthreats"]


@pytest.mark.parametrize("spec", LISTS, ids=lambda spec: spec.name)
def test_the_lists_are_summed_up_alike_and_can_be_as_of_a_moment(spec) -> None:
    (daily,) = spec.aggregates
    assert derived_sql()[daily.contract.name] == daily.sql
    assert f"FROM cleaned.{spec.name}\n" in daily.sql
