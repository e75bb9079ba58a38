"""What the views of a lake show: now, as of a moment, as shown at a moment, and in the file."""

from __future__ import annotations

import json
import os
import string
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from pathlib import Path

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable, Field, Schema, write_deltalake
from deltalake.schema import PrimitiveType

from intel_assets.errors import ConfigurationError, RetentionPassed, StorageError, UsageError
from intel_assets.lakehouse import extensions, sqldoor
from intel_assets.lakehouse.catalog import Catalog, derived_sql
from intel_assets.lakehouse.layout import LAYERS, Layout
from intel_assets.lakehouse.tables import Table
from intel_assets.lakehouse.views import TableName, Union
from intel_assets.sources import registry
from intel_assets.sources.cleaning import quarantine_contract

DAY = date(2026, 5, 1)
INSTANT = pl.Datetime("us", "UTC")
RECORDED = {"recorded_at": INSTANT}
Rows = list[tuple[object, ...]]


def at(day: int, hour: int = 0) -> datetime:
    """Return a moment in May 2026."""
    return datetime(2026, 5, day, hour, tzinfo=UTC)


def known(*rows: tuple[str, datetime, datetime | None]) -> pl.DataFrame:
    """Return records with the interval in which each was known."""
    return pl.DataFrame(
        [(DAY, *row) for row in rows],
        schema={"day": pl.Date, "id": pl.String, "known_from": INSTANT, "known_to": INSTANT},
        orient="row",
    )


def write(root: Path, table: str, frame: pl.DataFrame) -> None:
    """Append to a table of the lake, which is made when it is not there."""
    keys = ["day"] if "day" in frame.columns else None
    write_deltalake(root / table.replace(".", "/"), frame, mode="append", partition_by=keys)


def ask(con: duckdb.DuckDBPyConnection, sql: str) -> Rows:
    """Return all rows of a query."""
    return con.execute(sql).fetchall()


def ids(con: duckdb.DuckDBPyConnection, table: str = "cleaned.x") -> list[object]:
    """Return the ids that a view shows."""
    return [row[0] for row in ask(con, f"SELECT id FROM {table} ORDER BY id, known_from")]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a lake whose cleaned.x knew `old` from the 1st to the 3rd, and knows `new` since."""
    root = tmp_path / "lake"
    write(
        root,
        "cleaned.x",
        known(("old", at(1), at(3)), ("new", at(3), None), ("kept", at(1), None)),
    )
    return root


Open = Callable[..., duckdb.DuckDBPyConnection]


@pytest.fixture
def connect(root: Path) -> Iterator[Open]:
    """Return `Catalog(...).connect(...)` on the lake; connections are closed at the end."""
    opened = []

    def connect(derived: dict[str, str] | None = None, **when: object) -> duckdb.DuckDBPyConnection:
        con = Catalog(Layout(str(root)), derived=derived or {}).connect(**when)  # type: ignore[arg-type]
        opened.append(con)
        return con

    yield connect
    for con in opened:
        con.close()


def test_a_table_that_is_held_shows_what_it_held_and_divides_by_texts(
    root: Path, connect: Open
) -> None:
    frame = pl.DataFrame({"bucket": ["0", "1"], "n": [1, 2]})
    place = root / "aggregated" / "buckets"
    write_deltalake(place, frame, partition_by=["bucket"])
    table = TableName("aggregated", "buckets")
    con = connect(wanted=[table], held=[table])
    write_deltalake(place, frame.with_columns(n=pl.lit(9)), mode="append")
    assert ask(con, f"SELECT bucket, n FROM {table} ORDER BY n") == [("0", 1), ("1", 2)]
    assert ask(con, f"SELECT n FROM {table} WHERE bucket = '1'") == [(2,)]
    assert len(ask(connect(held=[table]), f"FROM {table}")) == 4


def test_a_lake_that_is_not_there_yet_has_every_layer_and_no_table(tmp_path: Path) -> None:
    catalog = Catalog(Layout(str(tmp_path / "nowhere")))
    with catalog.connect() as con:
        schemas = {row[0] for row in ask(con, "SELECT schema_name FROM duckdb_schemas()")}
        assert set(LAYERS) <= schemas
        assert ask(con, "SELECT current_setting('TimeZone')") == [("UTC",)]
    assert catalog.tables() == []
    assert not (tmp_path / "nowhere").exists()


def test_by_default_a_view_shows_what_holds_now(connect: Open) -> None:
    assert ids(connect()) == ["kept", "new"]


def test_history_shows_every_version_of_every_record(connect: Open) -> None:
    assert ids(connect(history=True)) == ["kept", "new", "old"]


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (at(1) - timedelta(microseconds=1), []),
        (at(1), ["kept", "old"]),
        (at(3) - timedelta(microseconds=1), ["kept", "old"]),
        (at(3), ["kept", "new"]),
        (at(30), ["kept", "new"]),
    ],
)
def test_as_of_shows_what_was_known_to_the_microsecond(
    connect: Open, moment: datetime, expected: list[str]
) -> None:
    assert ids(connect(as_of=moment)) == expected


def test_quarantine_and_raw_are_asked_as_of_like_all_others(root: Path, connect: Open) -> None:
    for table in ("quarantine.x", "raw.x"):
        write(root, table, known(("old", at(1), at(3)), ("new", at(3), None)))
    con = connect(as_of=at(2))
    assert ids(con, "quarantine.x") == ids(con, "raw.x") == ["old"]


def test_a_connection_stays_at_the_snapshot_it_was_opened_on(root: Path, connect: Open) -> None:
    con = connect()
    write(root, "cleaned.x", known(("later", at(4), None)))
    assert ids(con) == ["kept", "new"]
    assert ids(connect()) == ["kept", "later", "new"]


def test_only_tables_of_the_layers_are_found(root: Path) -> None:
    write(root, "tenants/acme/cleaned.secret", known(("theirs", at(1), None)))
    write(root, "landing/y", known(("body", at(1), None)))
    write(root, "cleaned/No-Table", known(("odd", at(1), None)))
    (root / "cleaned" / "folder").mkdir()
    assert Catalog(Layout(str(root))).tables() == [TableName("cleaned", "x")]
    tenant = Catalog(Layout(str(root), tenant="acme"))
    assert [str(name) for name in tenant.tables()] == ["cleaned.secret"]
    with tenant.connect() as con:
        assert ids(con, "cleaned.secret") == ["theirs"]


ODD_FOLDERS = ["o'dd lake; --ü", "für 100% x", "%zz", "日本 a#b?c", "a*b{c}@~", "n:m=1&+"]


@pytest.mark.parametrize("folder", ODD_FOLDERS)
def test_a_lake_may_stand_in_a_folder_with_an_odd_name(tmp_path: Path, folder: str) -> None:
    layout = Layout(str(tmp_path / folder / "lake"))
    for table in ("cleaned.x", "raw.x"):
        write(Path(layout.root), table, known(("here", at(1), None)))
    catalog = Catalog(layout)
    with catalog.connect() as con:
        layers = [layout.layer_uri(layer) for layer in LAYERS]
        sqldoor.lock(con, layers, temp_directory=tmp_path / "spill")
        assert sqldoor.run(con, "SELECT id FROM cleaned.x", timeout=20).fetchall() == [("here",)]
    assert python(PLAIN, catalog.write_shipped()) == "[('here',)]"
    with duckdb.connect(str(catalog.write_shipped()), read_only=True) as con:
        assert ask(con, "FROM quarantine.x") == []
        write(Path(layout.root), "quarantine.x", known(("bad", at(1), None)))
        with pytest.raises(duckdb.Error, match="newer than this file"):
            ask(con, "FROM quarantine.x")


@pytest.mark.parametrize(
    ("folder", "character"),
    [
        ("für %20 x", "%20"),
        ("[x]", "["),
        ("a\\b", "\\\\"),
        ("tab\tx", r"\t"),
        ("\udcff", r"\udcff"),
    ],
)
def test_a_folder_that_delta_misreads_is_refused_with_the_character(
    tmp_path: Path, folder: str, character: str
) -> None:
    for root in (tmp_path / folder / "lake", tmp_path / "link"):
        with pytest.raises(ConfigurationError, match="Rename that folder") as caught:
            Catalog(Layout(str(root)))
        assert f"misreads '{character}'" in caught.value.what
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to(tmp_path / folder)
    extensions.check_folder(Layout(f"s3://bucket/{folder}"))


def test_a_link_with_an_odd_name_to_a_good_folder_is_a_lake(root: Path, tmp_path: Path) -> None:
    link = tmp_path / "für %20 x"
    link.symlink_to(root)
    with Catalog(Layout(str(link))).connect() as con:
        assert ids(con) == ["kept", "new"]


def test_every_character_of_a_folder_is_either_read_or_refused(tmp_path: Path) -> None:
    refused = ""
    con = duckdb.connect()
    extensions.load(con, "delta")
    for character in string.punctuation.replace("/", "") + " \t\x7fü日😀":
        layout = Layout(str(tmp_path / f"a{character}zz{character}"))
        try:
            extensions.check_folder(layout)
        except ConfigurationError:
            refused += character
            continue
        write(Path(layout.root), "cleaned.x", known(("here", at(1), None)))
        table = extensions.address(layout.table_uri("cleaned", "x"))
        assert con.execute("SELECT id FROM delta_scan(?)", [table]).fetchall() == [("here",)]
    con.close()
    assert refused == "[\\]^|\t\x7f"


@pytest.mark.parametrize(
    "question",
    [
        "SELECT * FROM cleaned.broken",
        "SELECT count(*) FROM cleaned.broken",
        "SELECT id FROM cleaned.broken",
        "SELECT 1 FROM cleaned.broken LIMIT 1",
        "SELECT count(*) FROM cleaned.x LEFT JOIN cleaned.broken ON true",
    ],
)
def test_a_broken_table_names_itself_and_breaks_no_other(
    root: Path, connect: Open, question: str
) -> None:
    log = root / "cleaned" / "broken" / "_delta_log"
    log.mkdir(parents=True)
    (log / f"{0:020}.json").write_text("{garbage")
    con = connect()
    assert ids(con) == ["kept", "new"]
    with pytest.raises(duckdb.Error, match=r"cleaned\.broken cannot be read"):
        ask(con, question)


def test_a_table_whose_creation_was_cut_off_is_not_there_yet(root: Path, connect: Open) -> None:
    (root / "raw" / "hollow" / "_delta_log").mkdir(parents=True)
    with pytest.raises(duckdb.Error, match="hollow does not exist"):
        ask(connect(), "FROM raw.hollow")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_lake_that_cannot_be_listed_is_a_storage_error(root: Path) -> None:
    (root / "cleaned").chmod(0)
    try:
        with pytest.raises(StorageError, match="cannot be listed"):
            Catalog(Layout(str(root))).tables()
    finally:
        (root / "cleaned").chmod(0o700)


# ops


def fetches(*rows: tuple[str, int, int | None]) -> pl.DataFrame:
    """Return rows of ops.fetches: fetch_id, day recorded, day folded."""
    return pl.DataFrame(
        [(key, at(recorded), at(folded) if folded else None) for key, recorded, folded in rows],
        schema={"fetch_id": pl.String, "recorded_at": INSTANT, "folded_at": INSTANT},
        orient="row",
    )


def test_ops_fetches_has_one_row_a_fetch_the_first_that_was_folded(
    root: Path, connect: Open
) -> None:
    write(
        root,
        "ops.fetches",
        fetches(("a", 1, None), ("a", 2, 2), ("a", 3, 3), ("b", 2, None), ("b", 1, None)),
    )
    days = "SELECT fetch_id, day(recorded_at), day(folded_at) FROM ops.fetches ORDER BY ALL"
    assert ask(connect(), days) == [("a", 2, 2), ("b", 2, None)]
    assert ask(connect(as_of=at(1)), days) == [("a", 1, None), ("b", 1, None)]
    assert len(ask(connect(history=True), days)) == 5


@pytest.mark.parametrize(
    ("table", "keys"),
    [
        ("ops.coverage", ["source", "day"]),
        ("ops.alerts", ["alert_id"]),
        ("ops.switches", ["source"]),
    ],
)
def test_a_table_of_states_shows_the_newest_row_of_each_key(
    root: Path, connect: Open, table: str, keys: list[str]
) -> None:
    for day, texts in ((1, ("a", "b")), (3, ("a",)), (2, ("a",))):
        for text in texts:
            values = {key: [DAY] if key == "day" else [text] for key in keys}
            stamp = {"recorded_at": [at(day)], "state": [f"{text}{day}"]}
            write(root, table, pl.DataFrame({**values, **stamp}, schema_overrides=RECORDED))
    states = f"SELECT state FROM {table} ORDER BY state"
    assert ask(connect(), states) == [("a3",), ("b1",)]
    assert ask(connect(as_of=at(2)), states) == [("a2",), ("b1",)]
    assert ask(connect(as_of=at(1)), states) == [("a1",), ("b1",)]
    assert len(ask(connect(history=True), states)) == 4


def test_days_of_a_source_are_states_of_their_own(root: Path, connect: Open) -> None:
    days = {"source": ["x", "x"], "day": [DAY, DAY + timedelta(days=1)], "recorded_at": [at(3)] * 2}
    write(root, "ops.coverage", pl.DataFrame(days, schema_overrides=RECORDED))
    assert ask(connect(), "SELECT count(*) FROM ops.coverage") == [(2,)]


def test_other_ops_tables_are_as_of_when_their_rows_were_recorded(
    root: Path, connect: Open
) -> None:
    write(root, "ops.partitions", fetches(("a", 1, None), ("b", 3, None)))
    assert ask(connect(as_of=at(2)), "SELECT fetch_id FROM ops.partitions") == [("a",)]
    assert len(ask(connect(), "FROM ops.partitions")) == 2


# aggregated

DAILY = "-- per day\nSELECT day, count(*) AS n FROM cleaned.x GROUP BY day;\n"


def test_aggregated_tables_are_evaluated_over_the_as_of_views(root: Path, connect: Open) -> None:
    write(root, "aggregated.x_daily", pl.DataFrame({"day": [DAY], "n": [99]}))
    derived = {"x_total": "SELECT sum(n) AS n FROM aggregated.x_daily", "x_daily": DAILY}
    con = connect(derived, as_of=at(2))
    assert ask(con, "SELECT n FROM aggregated.x_daily") == [(2,)]
    assert ask(con, "SELECT n FROM aggregated.x_total") == [(2,)]
    assert ask(connect(derived), "SELECT n FROM aggregated.x_daily") == [(99,)]


def test_an_aggregated_table_without_sql_says_that_it_has_no_past(
    root: Path, connect: Open
) -> None:
    write(root, "aggregated.model", pl.DataFrame({"n": [1]}))
    assert ask(connect(), "FROM aggregated.model") == [(1,)]
    con = connect(as_of=at(2))
    with pytest.raises(duckdb.Error, match=r"aggregated\.model cannot be answered as of a moment"):
        ask(con, "SELECT count(*) FROM aggregated.model")


def test_an_aggregated_table_names_the_table_that_it_misses(root: Path, connect: Open) -> None:
    for table in ("aggregated.late", "aggregated.after"):
        write(root, table, pl.DataFrame({"n": [1]}))
    derived = {
        "late": "SELECT * FROM cleaned.later",
        "wrong": "SELECT nothing FROM cleaned.x",
        "wild": "SELEC",
        "after": "SELECT n FROM aggregated.late",
    }
    con = connect(derived, as_of=at(2))
    with pytest.raises(duckdb.Error, match=r"aggregated\.late needs cleaned\.later"):
        ask(con, "SELECT n FROM aggregated.late")
    with pytest.raises(duckdb.Error, match=r"aggregated\.wrong cannot be evaluated.*nothing"):
        ask(con, "FROM aggregated.wrong")
    with pytest.raises(duckdb.Error, match=r"aggregated\.wild cannot be evaluated"):
        ask(con, "FROM aggregated.wild")
    with pytest.raises(duckdb.Error, match=r"aggregated\.after cannot.*aggregated\.late needs"):
        ask(con, "FROM aggregated.after")


def test_aggregated_tables_made_of_each_other_are_a_mistake(connect: Open) -> None:
    derived = {"a": "FROM aggregated.b", "b": "FROM aggregated.a"}
    with pytest.raises(ConfigurationError, match=r"made of each other.*a -> b|b -> a"):
        connect(derived, as_of=at(2))


def test_the_sql_of_aggregated_tables_is_found_in_the_package() -> None:
    package = Path(str(files("intel_assets")))
    own = {path.stem: path.read_text() for path in package.glob("*/sql/*.sql")}
    alike = {
        f"{source}_daily": path.with_suffix(".sql").read_text().replace("{source}", source)
        for path in package.glob("*/alike/*.txt")
        for source in path.read_text().split()
    }
    assert not own.keys() & alike.keys()
    assert derived_sql() == own | alike


def test_an_aggregated_table_that_is_not_stored_is_evaluated_from_its_sql(
    root: Path, connect: Open
) -> None:
    derived = {"x_total": "SELECT sum(n) AS n FROM aggregated.x_daily", "x_daily": DAILY}
    total = "SELECT n FROM aggregated.x_total"
    con = connect(derived)
    assert ask(con, total) == [(2,)]
    write(root, "cleaned.x", known(("later", at(4), None)))
    assert ask(con, total) == [(2,)]
    assert ask(connect(derived), total) == [(3,)]
    assert ask(connect(derived, as_of=at(2)), total) == [(2,)]
    assert ask(connect(derived, shown_at=commit_times(root, "cleaned.x")[0]), total) == [(2,)]
    write(root, "aggregated.x_daily", pl.DataFrame({"day": [DAY], "n": [99]}))
    assert ask(connect(derived), total) == [(99,)]


def test_an_aggregated_table_of_tables_that_are_not_there_is_not_there_either(
    connect: Open,
) -> None:
    derived = {"late": "SELECT * FROM cleaned.later", "after": "SELECT n FROM aggregated.late"}
    for when in ({}, {"as_of": at(2)}, {"shown_at": datetime.now(UTC)}):
        con = connect(derived, **when)
        for name in derived:
            with pytest.raises(duckdb.CatalogException, match="does not exist"):
                ask(con, f"FROM aggregated.{name}")


def test_an_evaluated_table_refuses_a_history_that_would_count_records_twice(
    connect: Open,
) -> None:
    con = connect({"x_daily": DAILY}, history=True)
    with pytest.raises(duckdb.Error, match=r"aggregated\.x_daily has no history"):
        ask(con, "FROM aggregated.x_daily")


def test_an_evaluated_table_in_the_shipped_file_follows_the_tables(root: Path) -> None:
    shipped = Catalog(Layout(str(root)), derived={"x_daily": DAILY}).write_shipped()
    write(root, "cleaned.x", known(("later", at(4), None)))
    with duckdb.connect(str(shipped), read_only=True) as con:
        assert ask(con, "SELECT n FROM aggregated.x_daily") == [(3,)]
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{shipped}' AS lake (READ_ONLY)")
        assert ask(con, "SELECT n FROM lake.aggregated.x_daily") == [(3,)]


# quarantine


@pytest.mark.parametrize(
    "when", [{}, {"as_of": at(2)}, {"history": True}, {"shown_at": datetime.now(UTC)}]
)
def test_a_source_without_rejects_has_an_empty_quarantine(
    root: Path, connect: Open, when: dict[str, object]
) -> None:
    write(root, "raw.x", known(("kept", at(1), None)))
    con = connect(**when)
    assert ask(con, "SELECT day, rule, known_to FROM quarantine.x") == []
    assert ask(con, "SELECT count(*) FROM quarantine.x WHERE day = DATE '2026-05-01'") == [(0,)]
    with pytest.raises(duckdb.CatalogException, match="does not exist"):
        ask(con, "FROM quarantine.y")
    assert TableName("quarantine", "x") not in Catalog(Layout(str(root))).tables()


def test_an_empty_quarantine_has_the_columns_that_the_first_reject_brings(
    root: Path, connect: Open
) -> None:
    (source,) = registry.load(["urlhaus"])
    contract = quarantine_contract(source)
    write(root, "raw.urlhaus", known(("kept", at(1), None)))
    describe = "SELECT column_name, column_type FROM (DESCRIBE quarantine.urlhaus)"
    before = ask(connect(), describe)
    reject = contract.conform(pl.DataFrame({"day": [DAY], "rule": ["no_tail"]}))
    Table(Layout(str(root)), contract).append(reject, {"run_id": "r"})
    con = connect()
    assert ask(con, "SELECT rule FROM quarantine.urlhaus") == [("no_tail",)]
    assert before == ask(con, describe)


@pytest.mark.parametrize(
    "question",
    [
        "FROM quarantine.x",
        "SELECT count(*) FROM quarantine.x",
        "SELECT rule FROM quarantine.x WHERE day = DATE '2026-05-01'",
        "SELECT 1 FROM quarantine.x WHERE known_to IS NOT NULL LIMIT 1",
    ],
)
def test_a_shipped_quarantine_never_hides_a_reject_that_came_later(
    root: Path, question: str
) -> None:
    write(root, "raw.x", known(("kept", at(1), None)))
    shipped = Catalog(Layout(str(root))).write_shipped()
    with duckdb.connect(str(shipped), read_only=True) as con:
        assert ask(con, question) in ([], [(0,)])
        write(root, "quarantine.x", known(("bad", at(2), None)))
        with pytest.raises(duckdb.Error, match=r"quarantine\.x is newer than this file"):
            ask(con, question)


# shown at


def commit_times(root: Path, table: str) -> list[datetime]:
    """Return when each version of a table was committed, oldest first."""
    history = DeltaTable(root / table.replace(".", "/")).history()
    return [datetime.fromtimestamp(c["timestamp"] / 1000, UTC) for c in reversed(history)]


def test_shown_at_shows_what_the_tables_held_then(root: Path, connect: Open) -> None:
    for number in range(20):
        time.sleep(0.002)
        write(root, "cleaned.x", known((f"n{number:02}", at(5), None)))
    times = commit_times(root, "cleaned.x")
    for version in (0, 1, 19, 20):
        assert len(ids(connect(shown_at=times[version]))) == 2 + version
    assert ids(connect(shown_at=times[1], as_of=at(2))) == ["kept", "old"]
    assert len(ids(connect(shown_at=times[-1] + timedelta(days=1)))) == 22


def test_a_restored_lake_shows_what_the_tables_held_before(root: Path, connect: Open) -> None:
    time.sleep(0.002)
    write(root, "cleaned.x", known(("later", at(4), None)))
    first = commit_times(root, "cleaned.x")[0]
    for file in (root / "cleaned" / "x" / "_delta_log").iterdir():
        os.utime(file)
    assert ids(connect(shown_at=first)) == ["kept", "new"]


def test_a_table_that_was_not_there_yet_is_empty(root: Path, connect: Open) -> None:
    before = commit_times(root, "cleaned.x")[0] - timedelta(seconds=1)
    assert ids(connect(shown_at=before)) == []


def test_shown_at_before_the_retention_says_so(root: Path) -> None:
    later = commit_times(root, "cleaned.x")[0] + timedelta(days=40)
    catalog = Catalog(Layout(str(root)), clock=lambda: later)
    with pytest.raises(RetentionPassed, match="kept for 30 days"):
        catalog.connect(shown_at=later - timedelta(days=31))
    longer = Catalog(Layout(str(root)), clock=lambda: later, retention=timedelta(days=90))
    with longer.connect(shown_at=later - timedelta(days=31)) as con:
        assert ids(con) == ["kept", "new"]


def test_shown_at_before_the_log_begins_says_so(root: Path, connect: Open) -> None:
    time.sleep(0.002)
    write(root, "cleaned.x", known(("later", at(4), None)))
    first, second = commit_times(root, "cleaned.x")
    table = DeltaTable(root / "cleaned" / "x")
    table.create_checkpoint()
    (root / "cleaned" / "x" / "_delta_log" / f"{0:020}.json").unlink()
    assert len(ids(connect(shown_at=second))) == 3
    with pytest.raises(RetentionPassed, match="does not reach back"):
        connect(shown_at=first)


@pytest.mark.parametrize(
    "when", [{"as_of": at(1), "history": True}, {"as_of": at(1).replace(tzinfo=None)}]
)
def test_a_question_without_sense_is_refused(connect: Open, when: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        connect(**when)


# comments


def test_columns_carry_their_comment_and_their_class(root: Path, connect: Open) -> None:
    def column(name: str, **metadata: str) -> Field:
        keys = {"kind": "intel.class"}
        return Field(
            name,
            PrimitiveType("string"),
            metadata={keys.get(key, key): value for key, value in metadata.items()},
        )

    DeltaTable.create(
        str(root / "cleaned" / "people"),
        Schema(
            [
                column("id", comment="The source's own id", kind="public"),
                column("it's name", comment='It\'s "the" name', kind="personal"),
                column("key", kind="secret"),
                column("bare"),
            ]
        ),
        description="People; with 'quotes'",
    )
    con = connect()
    columns = "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'people'"
    assert ask(con, columns) == [
        ("id", "The source's own id"),
        ("it's name", 'It\'s "the" name (personal)'),
        ("key", "(secret)"),
        ("bare", None),
    ]
    views = "SELECT comment FROM duckdb_views() WHERE view_name = 'people'"
    assert ask(con, views) == [("People; with 'quotes'",)]


# speed


@pytest.mark.alone
@pytest.mark.slow
def test_sixty_tables_connect_in_half_a_second(tmp_path: Path) -> None:
    schema = Schema(
        [
            Field(f"c{n}", PrimitiveType("string"), metadata={"comment": f"Number {n}"})
            for n in range(20)
        ]
        + [Field(name, PrimitiveType("timestamp")) for name in ("known_from", "known_to")]
    )
    for number in range(60):
        layer = ("raw", "cleaned", "quarantine")[number % 3]
        DeltaTable.create(str(tmp_path / layer / f"t{number}"), schema)
    catalog = Catalog(Layout(str(tmp_path)), derived={})
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        catalog.connect().close()
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 1.5  # 0.5 on an idle machine, the extension's 0.2 included.


def test_asking_imports_nothing_heavy(root: Path) -> None:
    program = (
        "import sys; from intel_assets.lakehouse.catalog import Catalog; "
        "from intel_assets.lakehouse.layout import Layout; "
        "Catalog(Layout(sys.argv[1])).connect().execute('FROM cleaned.x').fetchall(); "
        "print([m for m in ('dagster', 'pandera', 'polars', 'pyarrow') if m in sys.modules])"
    )
    assert python(program, root) == "[]"


# intel.duckdb


def python(program: str, *arguments: object) -> str:
    """Run a program in another process and return what it prints."""
    run = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


PLAIN = (
    "import duckdb, sys; con = duckdb.connect(sys.argv[1], read_only=True); "
    "print(con.execute('SELECT id FROM cleaned.x ORDER BY id').fetchall())"
)


def test_any_duckdb_reads_the_shipped_file_and_sees_later_writes(root: Path) -> None:
    shipped = Catalog(Layout(str(root))).write_shipped()
    assert shipped == root / "intel.duckdb"
    assert python(PLAIN, shipped) == "[('kept',), ('new',)]"
    write(root, "cleaned.x", known(("later", at(4), None)))
    assert python(PLAIN, shipped) == "[('kept',), ('later',), ('new',)]"


def test_a_reader_keeps_its_shipped_file_while_it_is_replaced(root: Path) -> None:
    catalog = Catalog(Layout(str(root)))
    shipped = catalog.write_shipped()
    program = (
        "import duckdb, sys; con = duckdb.connect(sys.argv[1], read_only=True); "
        "print('open', flush=True); sys.stdin.readline(); "
        "print(con.execute('SELECT count(*) FROM cleaned.x').fetchall())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(shipped)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdout
        assert reader.stdout.readline() == "open\n"
        write(root, "cleaned.y", known(("y", at(1), None)))
        catalog.write_shipped()
        answer, _ = reader.communicate("\n", timeout=60)
    assert answer == "[(2,)]\n"
    with duckdb.connect(str(shipped), read_only=True) as con:
        assert ids(con, "cleaned.y") == ["y"]


@pytest.mark.slow
def test_writers_of_the_shipped_file_at_the_same_time_leave_a_whole_one(root: Path) -> None:
    program = (
        "import sys; from intel_assets.lakehouse.catalog import Catalog; "
        "from intel_assets.lakehouse.layout import Layout; "
        "[Catalog(Layout(sys.argv[1])).write_shipped() for _ in range(2)]"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, str(root)]) for _ in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert python(PLAIN, root / "intel.duckdb") == "[('kept',), ('new',)]"
    assert {path.name for path in root.iterdir()} == {"cleaned", "intel.duckdb"}


def test_a_place_that_cannot_be_written_is_a_storage_error(root: Path) -> None:
    (root / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written"):
        Catalog(Layout(str(root))).write_shipped(root / "file" / "intel.duckdb")


def test_a_lake_at_a_uri_has_no_shipped_file() -> None:
    with pytest.raises(UsageError, match="no file of views"):
        Catalog(Layout("s3://bucket/lake")).write_shipped()


# extensions


@pytest.mark.slow
def test_extensions_are_put_where_any_duckdb_finds_them(tmp_path: Path) -> None:
    program = (
        "import duckdb; from intel_assets.lakehouse import extensions; "
        "extensions.install(); duckdb.connect().execute('LOAD delta; LOAD httpfs'); print('there')"
    )
    home = {**os.environ, "HOME": str(tmp_path)}
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", program], env=home, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    assert [run.communicate(timeout=60)[0] for run in runs] == ["there\n"] * 2
    (found,) = tmp_path.rglob("delta.duckdb_extension")
    os.truncate(found, 1000)
    again = subprocess.run(
        [sys.executable, "-c", program], env=home, capture_output=True, text=True, check=False
    )
    assert again.stdout == "there\n"


def test_an_extension_that_no_package_carries_is_a_clear_error() -> None:
    with (
        duckdb.connect() as con,
        pytest.raises(ConfigurationError, match=r"extension 'spatial'.*duckdb-extension-spatial"),
    ):
        extensions.load(con, "spatial")


# s3


@pytest.mark.slow
def test_a_lake_at_a_uri_is_asked_like_a_folder_and_tells_no_key(root: Path) -> None:
    program = """
import json, sys
import boto3, duckdb
from moto.server import ThreadedMotoServer
from intel_assets.errors import IntelError
from intel_assets.lakehouse import sqldoor
from intel_assets.lakehouse.catalog import Catalog
from intel_assets.lakehouse.layout import LAYERS, Layout
from pathlib import Path

server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
host, port = server.get_host_and_port()
options = {
    "AWS_ACCESS_KEY_ID": "canary-id", "AWS_SECRET_ACCESS_KEY": "canary-secret",
    "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ALLOW_HTTP": "true",
    "AWS_REGION": "us-east-1",
}
s3 = boto3.client(
    "s3", endpoint_url=options["AWS_ENDPOINT_URL"], region_name="us-east-1",
    aws_access_key_id="canary-id", aws_secret_access_key="canary-secret",
)
s3.create_bucket(Bucket="bucket")
root = Path(sys.argv[1])
for file in root.rglob("*.*"):
    if file.is_file():
        s3.upload_file(str(file), "bucket", f"lake/{file.relative_to(root)}")
s3.put_object(Bucket="bucket", Key="lake/cleaned/other/file", Body=b"no table")
s3.put_object(Bucket="bucket", Key="lake/landing/x.csv", Body=b"body\\n1\\n")
layout = Layout("s3://bucket/lake", storage_options=options)
catalog = Catalog(layout)
con = catalog.connect()
tables = [str(name) for name in catalog.tables()]
sqldoor.lock(con, [layout.layer_uri(layer) for layer in LAYERS], temp_directory=root / "tmp")
rows = sqldoor.run(con, "SELECT id FROM cleaned.x ORDER BY id", timeout=30).fetchall()
said = []
for sql in ("FROM 's3://bucket/lake/landing/x.csv'", "FROM duckdb_secrets()"):
    try:
        said.append(con.execute(sql).fetchall() if "secrets" not in sql else
                    sqldoor.run(con, sql, timeout=30))
    except (duckdb.Error, IntelError) as error:
        said.append(str(error))
server.stop()
print(json.dumps([tables, rows, said]))
"""
    tables, rows, said = json.loads(python(program, root).splitlines()[-1])
    assert tables == ["cleaned.x"]
    assert rows == [["kept"], ["new"]]
    assert "Permission" in said[0]
    assert "not allowed" in said[1]
    assert "canary" not in str(said)


UNION = Union("both", {"id": "VARCHAR", "known_from": "TIMESTAMPTZ", "note": "VARCHAR"}, ["id"])


@pytest.fixture
def united(root: Path) -> Catalog:
    """Return the lake with a second table of the model, and one of another."""
    write(root, "cleaned.y", known(("late", at(4), None)))
    write(root, "cleaned.other", known(("x", at(1), None)).rename({"id": "name"}))
    return Catalog(Layout(str(root)), derived={}, unions=[UNION])


def test_a_union_shows_every_cleaned_table_of_its_model(united: Catalog) -> None:
    asked = "SELECT source, id, note FROM cleaned.both ORDER BY id"
    with united.connect() as con:
        assert ask(con, asked) == [("x", "kept", None), ("y", "late", None), ("x", "new", None)]
    with united.connect(as_of=at(2)) as con:
        assert ask(con, asked) == [("x", "kept", None), ("x", "old", None)]


def test_a_union_is_there_before_its_tables_are(tmp_path: Path) -> None:
    with Catalog(Layout(str(tmp_path)), derived={}, unions=[UNION]).connect() as con:
        assert ask(con, "SELECT count(*) FROM cleaned.both") == [(0,)]


def test_a_union_does_not_answer_without_a_table_that_is_damaged(root: Path) -> None:
    log = root / "cleaned" / "y" / "_delta_log"
    log.mkdir(parents=True)
    (log / f"{0:020}.json").write_text("no log")
    with (
        Catalog(Layout(str(root)), derived={}, unions=[UNION]).connect() as con,
        pytest.raises(duckdb.Error, match=r"cleaned\.y cannot be read"),
    ):
        ask(con, "SELECT count(*) FROM cleaned.both")


def test_what_hangs_on_time_is_counted_from_the_moment_asked_about(root: Path) -> None:
    now = at(20)
    catalog = Catalog(Layout(str(root)), derived={}, clock=lambda: now)
    with catalog.connect() as con:
        assert ask(con, "SELECT asked_at()") == [(now,)]
    with catalog.connect(as_of=at(2)) as con:
        assert ask(con, "SELECT asked_at()") == [(at(2),)]
    with duckdb.connect(str(catalog.write_shipped()), read_only=True) as con:
        assert ask(con, "SELECT asked_at() = now()") == [(True,)]


def test_only_what_is_wanted_is_evaluated_with_all_that_it_is_made_of(root: Path) -> None:
    derived = {
        "first": "SELECT id FROM cleaned.both",
        "second": "SELECT id FROM aggregated.first",
        "other": "SELECT id FROM cleaned.x",
    }
    catalog = Catalog(Layout(str(root)), derived=derived, unions=[UNION])
    shown = "SELECT view_name FROM duckdb_views() WHERE NOT internal"
    with catalog.connect(wanted={TableName("aggregated", "second")}) as con:
        assert sorted(ask(con, shown)) == [("both",), ("first",), ("second",), ("x",)]
        assert len(ask(con, "FROM aggregated.second")) == 2
    with catalog.connect(wanted={TableName("cleaned", UNION.name)}) as con:
        assert {name for (name,) in ask(con, shown)} >= {"both", UNION.name}
    with catalog.connect(wanted=()) as con:
        assert ask(con, shown) == []
    with catalog.connect() as con:
        every = ask(con, shown)
    with catalog.connect(wanted={TableName("cleaned", "nobody_knows_it")}) as con:
        assert ask(con, shown) == every


def test_a_stored_table_that_is_evaluated_as_of_a_moment_need_not_be_wanted(root: Path) -> None:
    write(root, "aggregated.x_daily", known(("day", at(3), None)))
    catalog = Catalog(Layout(str(root)), derived={"x_daily": DAILY})
    with catalog.connect(as_of=at(4), wanted={TableName("cleaned", "both")}) as con:
        assert ids(con) == ["kept", "new"]
