"""The door for SQL: nothing outside the visible tables can be read, and nothing can be written."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pytest
from deltalake import write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from intel_assets.errors import IntelError, StorageError, UsageError
from intel_assets.lakehouse import extensions, sqldoor
from intel_assets.lakehouse.catalog import Catalog
from intel_assets.lakehouse.layout import LAYERS, Layout

CANARY = "canary-7f3a"

# The functions of DuckDB 1.5.5, and of its delta and httpfs, that someone looked at and that
# neither write, wait, nor read anything but their arguments.
LOOKED_AT = """
abs acos acosh add age aggregate ago alias any_value apply approx_count_distinct approx_quantile
approx_top_k arbitrary arg_max arg_max_null arg_max_nulls_last arg_min arg_min_null
arg_min_nulls_last argmax argmin array_agg array_aggr array_aggregate array_append array_apply
array_cat array_concat array_contains array_cosine_distance array_cosine_similarity
array_cross_product array_distance array_distinct array_dot_product array_extract array_filter
array_grade_up array_has array_has_all array_has_any array_indexof array_inner_product
array_intersect array_length array_negative_dot_product array_negative_inner_product
array_pop_back array_pop_front array_position array_prepend array_push_back array_push_front
array_reduce array_resize array_reverse array_reverse_sort array_select array_slice array_sort
array_to_json array_to_string array_to_string_comma_default array_transform array_unique
array_value array_where array_zip ascii asin asinh atan atan2 atanh avg bar base64 bin bit_and
bit_count bit_length bit_or bit_position bit_xor bitstring bitstring_agg bool_and bool_or
can_cast_implicitly cardinality cast_to_type cbrt ceil ceiling century char_length
character_length chr col_description combine concat concat_ws constant_or_null contains corr cos
cosh cot count count_if count_star countif covar_pop covar_samp create_sort_key cume_dist
current_catalog current_connection_id current_database current_date current_localtime
current_localtimestamp current_query current_query_id current_role current_schema
current_schemas current_transaction_id current_user damerau_levenshtein date_add date_diff
date_part date_sub date_trunc datediff datepart datesub datetrunc day dayname dayofmonth
dayofweek dayofyear days_in_month decade decode degrees dense_rank divide editdist3 element_at
encode ends_with entropy enum_code enum_first enum_last enum_range enum_range_boundary epoch
epoch_ms epoch_ns epoch_us equi_width_bins era error even exp factorial favg fdiv fill filter
finalize first first_value flatten floor fmod format formatReadableDecimalSize
formatReadableSize format_bytes format_pg_type format_type from_base64 from_binary from_hex
from_json from_json_strict fsum gamma gcd gen_random_uuid generate_series generate_subscripts
geomean geometric_mean get_bit get_block_size get_current_time get_current_timestamp get_type
getvariable grade_up greatest greatest_common_divisor group_concat hamming
has_any_column_privilege has_column_privilege has_database_privilege
has_foreign_data_wrapper_privilege has_function_privilege has_language_privilege
has_schema_privilege has_sequence_privilege has_server_privilege has_table_privilege
has_tablespace_privilege hash hex histogram histogram_exact hour icu_sort_key ilike_escape
in_search_path inet_client_addr inet_client_port inet_server_addr inet_server_port instr
is_histogram_other_bin isfinite isinf isnan isodow isoyear jaccard jaro_similarity
jaro_winkler_similarity json json_array json_array_length json_contains json_deserialize_sql
json_exists json_extract json_extract_path json_extract_path_text json_extract_string
json_group_array json_group_object json_group_structure json_keys json_merge_patch json_object
json_pretty json_quote json_serialize_sql json_structure json_transform json_transform_strict
json_type json_valid json_value julian kahan_sum kurtosis kurtosis_pop lag last last_day
last_value lcase lcm lead least least_common_multiple left left_grapheme len length
length_grapheme levenshtein lgamma like_escape list list_aggr list_aggregate list_any_value
list_append list_apply list_approx_count_distinct list_avg list_bit_and list_bit_or list_bit_xor
list_bool_and list_bool_or list_cat list_concat list_contains list_cosine_distance
list_cosine_similarity list_count list_distance list_distinct list_dot_product list_element
list_entropy list_extract list_filter list_first list_grade_up list_has list_has_all
list_has_any list_histogram list_indexof list_inner_product list_intersect list_kurtosis
list_kurtosis_pop list_last list_mad list_max list_median list_min list_mode
list_negative_dot_product list_negative_inner_product list_pack list_position list_prepend
list_product list_reduce list_resize list_reverse list_reverse_sort list_select list_sem
list_skewness list_slice list_sort list_stddev_pop list_stddev_samp list_string_agg list_sum
list_transform list_unique list_value list_var_pop list_var_samp list_where list_zip listagg ln
log log10 log2 lower lpad ltrim mad make_date make_time make_timestamp make_timestamp_ms
make_timestamp_ns make_timestamptz make_type map map_concat map_contains map_contains_entry
map_contains_value map_entries map_extract map_extract_value map_from_entries map_keys
map_to_pg_oid map_values max max_by md5 md5_number md5_number_lower md5_number_upper mean median
microsecond millennium millisecond min min_by minute mismatches mod mode month monthname
multiply nanosecond nextafter nfc_normalize normalized_interval not_ilike_escape not_like_escape
now nth_value ntile nullif obj_description octet_length ord parse_dirname parse_dirpath
parse_filename parse_formatted_bytes parse_path percent_rank pg_collation_is_visible
pg_conf_load_time pg_conversion_is_visible pg_function_is_visible pg_get_constraintdef
pg_get_expr pg_has_role pg_is_other_temp_schema pg_my_temp_schema pg_opclass_is_visible
pg_operator_is_visible pg_opfamily_is_visible pg_postmaster_start_time pg_size_pretty
pg_table_is_visible pg_ts_config_is_visible pg_ts_dict_is_visible pg_ts_parser_is_visible
pg_ts_template_is_visible pg_type_is_visible pg_typeof pi position pow power prefix printf
product quantile quantile_cont quantile_disc quarter radians random range rank rank_dense reduce
regexp_escape regexp_extract regexp_extract_all regexp_full_match regexp_matches regexp_replace
regexp_split_to_array regexp_split_to_table regr_avgx regr_avgy regr_count regr_intercept
regr_r2 regr_slope regr_sxx regr_sxy regr_syy remap_struct repeat replace replace_type
reservoir_quantile reverse right right_grapheme round round_even roundbankers row row_number
row_to_json rpad rtrim second sem session_user set_bit setseed sha1 sha256 shobj_description
sign signbit sin sinh skewness split split_part sqrt st_asbinary st_astext st_aswkb st_aswkt
st_crs st_geomfromwkb st_intersects_extent st_setcrs starts_with stats stddev stddev_pop
stddev_samp str_split str_split_regex strftime string_agg string_split string_split_regex
string_to_array strip_accents strlen strpos strptime struct_concat struct_contains
struct_extract struct_extract_at struct_has struct_indexof struct_insert struct_keys struct_pack
struct_position struct_update struct_values substr substring substring_grapheme subtract suffix
sum sum_no_overflow sumkahan switch tan tanh time_bucket timetz_byte_comparable timezone
timezone_hour timezone_minute to_base to_base64 to_binary to_centuries to_days to_decades to_hex
to_hours to_json to_microseconds to_millennia to_milliseconds to_minutes to_months to_quarters
to_seconds to_timestamp to_weeks to_years today transaction_timestamp translate trim trunc
try_strptime txid_current typeof ucase unbin unhex unicode union_extract union_tag union_value
unpivot_list upper url_decode url_encode user uuid uuid_extract_timestamp uuid_extract_version
uuidv4 uuidv7 var_pop var_samp variance variant_bytes_to_variant variant_extract
variant_normalize variant_to_parquet_variant variant_typeof vector_type version wavg week
weekday weekofyear weighted_avg xor year yearweek
"""


class Door:
    """A locked connection to a lake with canaries all around what is visible."""

    def __init__(self, folder: Path) -> None:
        """Make the lake, the canaries and the connection."""
        self.folder = folder
        self.root = folder / "lake"
        frame = pl.DataFrame({"id": ["a", "b"], "n": [1, 2], "tags": [["x"], ["y", "z"]]})
        for table in ("cleaned/urlhaus", "cleaned/tweetfeed", "raw/urlhaus"):
            write_deltalake(self.root / table, frame)
        claims = pl.DataFrame({"c": [CANARY]})
        write_deltalake(self.root / "tenants" / "x" / "cleaned" / "claims", claims)
        for canary in (
            folder / "beside.csv",
            self.root / "root.csv",
            self.root / "landing" / "ab" / "body.csv",
            self.root / "tenants" / "x" / "secret.csv",
            self.root / "cleaned_not" / "near.csv",
        ):
            canary.parent.mkdir(parents=True, exist_ok=True)
            canary.write_text(f"word\n{CANARY}\n")
        claims.write_parquet(self.root / "landing" / "body.parquet")
        (self.root / "cleaned" / "file.csv").symlink_to(self.root / "root.csv")
        (self.root / "cleaned" / "folder").symlink_to(self.root / "tenants")
        layout = Layout(str(self.root))
        self.con = Catalog(layout, derived={}).connect()
        sqldoor.lock(
            self.con,
            [layout.layer_uri(layer) for layer in LAYERS],
            memory_limit="500MB",
            temp_directory=folder.parent / "spill",
        )
        self.before = self.everything()

    def everything(self) -> dict[str, bytes]:
        """Return every file in and beside the lake."""
        found = sorted(self.folder.rglob("*"))
        return {str(path): path.read_bytes() for path in found if path.is_file()}

    def fill(self, sql: str) -> str:
        """Put the lake's place into a statement."""
        return sql.replace("{lake}", str(self.root)).replace("{beside}", str(self.folder))


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """Return the door; at the end no file may have changed."""
    door = Door(tmp_path_factory.mktemp("door"))
    yield door
    assert door.everything() == door.before
    door.con.close()


HARMLESS = [
    "SELECT 1",
    "FROM cleaned.urlhaus",
    "SELECT id, unnest(tags) FROM cleaned.urlhaus;",
    "WITH a AS (SELECT n FROM cleaned.urlhaus), b AS (FROM a) SELECT sum(n) FROM b",
    "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 5) FROM r",
    "SELECT * FROM CLEANED.URLHAUS u JOIN memory.cleaned.tweetfeed t USING (id)",
    "SELECT count(*) OVER (ORDER BY n) FROM cleaned.urlhaus QUALIFY row_number() OVER () = 1",
    "FROM range(3) SELECT list(range)",
    "SELECT * FROM unnest([1, 2]), generate_series(1, 2), json_each('[1]')",
    "VALUES (1), (2)",
    "DESCRIBE cleaned.urlhaus",
    "SUMMARIZE cleaned.urlhaus",
    "SHOW TABLES",
    "SHOW ALL TABLES",
    "SHOW TABLES FROM cleaned",
    "SELECT table_name FROM information_schema.tables",
    "SELECT comment FROM duckdb_columns",
    "PIVOT cleaned.urlhaus ON id IN ('a', 'b') USING sum(n)",
    "UNPIVOT cleaned.urlhaus ON n",
    "SELECT [x + 1 FOR x IN [1, 2] IF x > 1], list_transform([1], lambda x: x * 2)",
    "SELECT strftime(now(), '%Y'), 'read_text(''/etc/passwd'')' AS text",
    "SELECT id FROM cleaned.urlhaus WHERE id IN (SELECT id FROM raw.urlhaus) ORDER BY ALL LIMIT 1",
    "SELECT getvariable('nothing'), current_schema(), version()",
]


@pytest.mark.parametrize("sql", HARMLESS)
def test_honest_questions_pass(door: Door, sql: str) -> None:
    sqldoor.run(door.con, sql, timeout=20).fetchall()


READING = [
    "FROM '{beside}/beside.csv'",
    "FROM '{lake}/root.csv'",
    "FROM '{lake}/landing/ab/body.csv'",
    "FROM '{lake}/landing/*.parquet'",
    "FROM '{lake}/tenants/x/secret.csv'",
    "FROM '{lake}/cleaned_not/near.csv'",
    "FROM '{lake}/cleaned/file.csv'",
    "FROM '{lake}/cleaned/folder/x/secret.csv'",
    "FROM '{lake}/cleaned/../root.csv'",
    "FROM '{lake}/cleaned/urlhaus/../../landing/ab/body.csv'",
    "FROM 'file://{lake}/root.csv'",
    "FROM '{lake}/**/*.csv'",
    "FROM read_text('{lake}/root.csv')",
    "FROM read_blob('{lake}/tenants/x/secret.csv')",
    "FROM read_csv('{lake}/landing/ab/body.csv')",
    "FROM read_csv_auto(['{lake}/root.csv'])",
    "FROM main.read_text('{lake}/root.csv')",
    "FROM system.main.read_text('{lake}/root.csv')",
    "FROM read_parquet('{lake}/landing/body.parquet')",
    "FROM parquet_metadata('{lake}/landing/body.parquet')",
    "FROM parquet_schema('{lake}/landing/body.parquet')",
    "FROM sniff_csv('{lake}/root.csv')",
    "FROM read_json_objects('{lake}/root.csv')",
    "FROM read_ndjson_objects('{lake}/root.csv')",
    "FROM glob('{lake}/**')",
    "FROM delta_scan('{lake}/tenants/x/cleaned/claims')",
    "FROM delta_list_files('{lake}/tenants/x/cleaned/claims')",
    "FROM query('FROM read_text(''{lake}/root.csv'')')",
    "FROM query_table('{lake}/root.csv')",
    "FROM json_execute_serialized_sql(json_serialize_sql('FROM ''{lake}/root.csv'''))",
    "SELECT json_serialize_plan('FROM ''{lake}/root.csv''')",
    "FROM histogram_values('{lake}/root.csv', word)",
    "WITH a AS (FROM '{lake}/root.csv') FROM a",
    "SELECT (SELECT word FROM '{lake}/root.csv')",
    "SELECT 1 ORDER BY (SELECT word FROM '{lake}/root.csv')",
    "SELECT 1 LIMIT (SELECT count(*) FROM '{lake}/root.csv')",
    "SELECT * FROM cleaned.urlhaus u, LATERAL (SELECT * FROM read_text('{lake}/root.csv'))",
    "SELECT CASE WHEN EXISTS (FROM '{lake}/root.csv') THEN 1 END",
    "SELECT (WITH \"{lake}/root.csv\" AS (SELECT 1) SELECT 1) FROM '{lake}/root.csv'",
    "DESCRIBE '{lake}/root.csv'",
    "SUMMARIZE '{lake}/root.csv'",
    "PIVOT '{lake}/root.csv' ON word IN ('a')",
    "UNPIVOT '{lake}/root.csv' ON word",
    "VALUES ((SELECT word FROM '{lake}/root.csv'))",
    "FROM read_duckdb('{lake}/intel.duckdb')",
]

WRITING = [
    "COPY cleaned.urlhaus TO '{lake}/cleaned/out.csv'",
    "COPY (SELECT 1) TO '{beside}/out.parquet'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{lake}/cleaned/out.csv'",
    "FROM enable_logging('QueryLog', storage='file', storage_config={'path': '{lake}/raw/log'})",
    "FROM disable_logging()",
    "FROM truncate_duckdb_logs()",
    "FROM enable_profiling(save_location='{lake}/cleaned/profile')",
    "FROM checkpoint()",
    "FROM force_checkpoint()",
    "FROM copy_dir('{lake}/cleaned', '{lake}/raw/copy')",
    "FROM delta_set_transaction_version('{lake}/cleaned/urlhaus', 'a', 1)",
    "SELECT write_log('x')",
    "SELECT write_blob('{lake}/cleaned/out', 'x'::BLOB)",
    "SELECT 'x'.write_log()",
    "SELECT [write_log(id) FOR id IN ['a']] FROM cleaned.urlhaus",
    "SELECT sum(n) FILTER (write_log(id) IS NULL) FROM cleaned.urlhaus",
    "SELECT sum(n) OVER (ORDER BY write_log(id)) FROM cleaned.urlhaus",
    "SELECT main.write_log('x')",
    "SELECT sleep_ms(20000)",
    "SELECT pg_sleep(20)",
    "SELECT nextval('s')",
    "CREATE TABLE t AS SELECT 1",
    "CREATE OR REPLACE VIEW cleaned.urlhaus AS SELECT 1",
    "DROP VIEW cleaned.urlhaus",
    "INSERT INTO cleaned.urlhaus VALUES (1)",
    "ATTACH '{lake}/cleaned/x.duckdb'",
    "ATTACH '{lake}/tenants/x/cleaned/claims' AS t (TYPE delta)",
    "DETACH memory",
    "EXPORT DATABASE '{lake}/cleaned/export'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '{lake}/cleaned/x.duckdb_extension'",
    "SET enable_external_access = true",
    "RESET lock_configuration",
    "SET VARIABLE a = 1",
    "PRAGMA database_list",
    "CALL pragma_version()",
    "PREPARE a AS SELECT 1",
    "BEGIN",
    "EXPLAIN SELECT 1",
    "PIVOT cleaned.urlhaus ON id",
    "SELECT 1; SELECT 2",
    "SELECT 1; COPY (SELECT 1) TO '{lake}/cleaned/out.csv'",
    "SELECT 1 \0; COPY (SELECT 1) TO '{lake}/cleaned/out.csv'",
    "",
    "-- nothing",
    "\ud800",
    "SELECT " + "1 + " * 5000 + "1",
]

TELLING = [
    "FROM duckdb_settings()",
    "FROM duckdb_secrets",
    "FROM duckdb_secrets()",
    "FROM which_secret('s3://x', 's3')",
    "FROM duckdb_views()",
    "FROM duckdb_logs",
    "FROM duckdb_logs()",
    "FROM duckdb_databases()",
    "FROM duckdb_extensions()",
    "FROM duckdb_temporary_files()",
    "FROM sqlite_master",
    "FROM pg_catalog.pg_views",
    "FROM information_schema.views",
    "FROM pragma_database_list",
    "SHOW DATABASES",
    "SHOW VARIABLES",
    "SELECT current_setting('temp_directory')",
    "SELECT getenv('HOME')",
    "FROM CANARY",
    "FROM other.cleaned.urlhaus",
]
HOSTILE = READING + WRITING + TELLING


@pytest.mark.parametrize("sql", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_statement_is_refused_and_tells_nothing(door: Door, sql: str) -> None:
    with pytest.raises(UsageError) as caught:
        sqldoor.run(door.con, door.fill(sql), timeout=20)
    assert CANARY not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert door.everything() == door.before


@pytest.mark.parametrize("sql", READING)
def test_the_lock_alone_lets_no_canary_be_read(door: Door, sql: str) -> None:
    try:
        rows = door.con.execute(door.fill(sql)).fetchall()
    except duckdb.Error as error:
        rows = [(str(error),)]
    assert CANARY not in str(rows)


@pytest.mark.parametrize(
    "sql",
    [
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        "SET lock_configuration = false",
        "INSTALL httpfs",
        "COPY (SELECT 1) TO '{lake}/root.csv'",
        "ATTACH '{lake}/x.duckdb'",
    ],
)
def test_a_lock_cannot_be_undone(door: Door, sql: str) -> None:
    with pytest.raises(duckdb.Error):
        door.con.execute(door.fill(sql))


def test_a_variable_of_python_is_no_table(door: Door) -> None:
    frame = pl.DataFrame({"word": [CANARY]})
    assert frame.height == 1
    with pytest.raises(duckdb.Error):
        door.con.execute("FROM frame")


PLACES = st.sampled_from(
    [
        "{beside}/beside.csv",
        "{lake}/root.csv",
        "{lake}/landing/ab/body.csv",
        "{lake}/landing/body.parquet",
        "{lake}/tenants/x/secret.csv",
        "{lake}/tenants/x/cleaned/claims",
        "{lake}/cleaned/file.csv",
        "{lake}/cleaned/folder/x/secret.csv",
        "{lake}/cleaned/../root.csv",
        "{lake}/raw/./.././root.csv",
        "{lake}//root.csv",
        "{lake}/**",
    ]
)
SPELLINGS = [
    "'{place}'",
    '"{place}"',
    "{function}('{place}')",
    "\"{function}\"('{place}')",
    "main.{function}(['{place}'])",
    "query('FROM {function}(''{place}'')')",
]
WRAPS = [
    "SELECT * FROM (<>)",
    "WITH a AS (<>) SELECT * FROM a",
    "WITH RECURSIVE a AS (SELECT 1 AS x UNION ALL SELECT 2 FROM (<>), a) SELECT * FROM a",
    "SELECT (SELECT x FROM (<>) AS t(x) LIMIT 1)",
    "SELECT * FROM cleaned.urlhaus WHERE EXISTS (<>)",
    "SELECT * FROM cleaned.urlhaus, LATERAL (<>)",
    "SELECT 1 UNION ALL BY NAME <>",
    "SELECT [t FOR t IN [(SELECT count(*) FROM (<>))]]",
    "SELECT max(n) FILTER (EXISTS (<>)) FROM cleaned.urlhaus",
    "SELECT count(*) OVER (ORDER BY (SELECT count(*) FROM (<>)))",
    "SELECT * FROM (SUMMARIZE <>)",
    "SELECT 1 GROUP BY ALL HAVING (SELECT count(*) FROM (<>)) > 0",
    "/* {} */ <> -- ;",
    "VALUES ((SELECT count(*) FROM (<>)))",
]
READERS = [
    "read_text",
    "read_blob",
    "read_csv",
    "read_parquet",
    "glob",
    "delta_scan",
    "query_table",
]


@st.composite
def roundabout(draw: st.DrawFn) -> str:
    """Return a statement that tries to read a canary in some roundabout way."""
    reader = draw(st.sampled_from(READERS))
    case = draw(st.sampled_from([str.lower, str.upper, str.title]))
    spelling = draw(st.sampled_from(SPELLINGS))
    source = spelling.replace("{function}", case(reader)).replace("{place}", draw(PLACES))
    sql = f"SELECT * FROM {source}"
    for wrap in draw(st.lists(st.sampled_from(WRAPS), max_size=3)):
        # A comment ends the line.
        sql = wrap.replace("<>", f"{sql}\n")
    return sql


@settings(max_examples=150, deadline=None)
@given(sql=roundabout())
def test_no_roundabout_way_leads_to_a_canary(door: Door, sql: str) -> None:
    with pytest.raises(UsageError) as caught:
        sqldoor.run(door.con, door.fill(sql), timeout=20)
    assert CANARY not in str(caught.value)


WORDS = """
SELECT FROM WITH ( ) , ; * AS '{lake}/root.csv' read_text glob cleaned.urlhaus COPY TO id n 1
UNION JOIN ON UNNEST write_log PIVOT USING " ' -- /* $$ [ ] { } : ? $1
"""


@settings(max_examples=150, deadline=None)
@given(words=st.lists(st.sampled_from([*WORDS.split(), "\0"]), min_size=1, max_size=12))
def test_garbled_statements_end_in_an_answer_or_in_our_error(door: Door, words: list[str]) -> None:
    try:
        rows = sqldoor.run(door.con, door.fill(" ".join(words)), timeout=20).fetchall()
    except IntelError as error:
        rows = [(str(error),)]
    assert CANARY not in str(rows)


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(LOOKED_AT.split()),
    arguments=st.lists(PLACES.map(lambda place: f"'{place}'"), max_size=3),
)
def test_no_function_that_passes_reads_or_writes_a_file(
    door: Door, name: str, arguments: list[str]
) -> None:
    sql = door.fill(f"SELECT {name}({', '.join(arguments)})")
    try:
        rows = sqldoor.run(door.con, sql, timeout=20).fetchall()
    except IntelError as error:
        rows = [(str(error),)]
    assert CANARY not in str(rows)


def test_duckdb_has_no_function_that_nobody_looked_at() -> None:
    with duckdb.connect() as con:
        extensions.load(con, "delta", "httpfs")
        rows = con.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions()"
            " WHERE function_type IN ('scalar', 'aggregate', 'macro')"
        ).fetchall()
    # Operators and collations have no arguments that name anything.
    names = {name for (name,) in rows if re.fullmatch(r"[a-zA-Z]\w*", name)}
    new = {name for name in names if not name.startswith("icu_collate_")}
    new -= {*LOOKED_AT.split(), *sqldoor.REFUSED_FUNCTIONS}
    assert not new, "new functions: list each in LOOKED_AT or in sqldoor.REFUSED_FUNCTIONS"
    assert not set(LOOKED_AT.split()) & sqldoor.REFUSED_FUNCTIONS


@pytest.mark.parametrize("name", sorted(sqldoor.REFUSED_FUNCTIONS))
def test_a_refused_function_is_refused_by_any_spelling(door: Door, name: str) -> None:
    for spelling in (name, name.upper(), f'"{name}"', f"main.{name}", f"system.main.{name}"):
        with pytest.raises(UsageError, match=f"function {name} is not allowed"):
            sqldoor.check(door.con, f"SELECT {spelling}('x')")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT sum(a.range * b.range) FROM range(1000000000) a, range(1000000) b",
        "WITH RECURSIVE r AS (SELECT 1 i UNION ALL SELECT i + 1 FROM r) SELECT count(*) FROM r",
        "FROM range(10000000000) SELECT list(range % 10) GROUP BY range % 3",
    ],
)
def test_a_runaway_query_is_ended_and_the_connection_lives_on(door: Door, sql: str) -> None:
    started = time.perf_counter()
    with pytest.raises(UsageError, match=r"longer than 0\.5 s|memory"):
        sqldoor.run(door.con, sql, timeout=0.5)
    assert time.perf_counter() - started < 5
    assert sqldoor.run(door.con, "SELECT 42", timeout=5).fetchall() == [(42,)]
    assert "sql-time-limit" not in {thread.name for thread in threading.enumerate()}


def test_values_are_bound_by_place_and_by_name(door: Door) -> None:
    sql = "SELECT n FROM cleaned.urlhaus WHERE id = "
    assert sqldoor.run(door.con, sql + "?", ["b"], timeout=5).fetchall() == [(2,)]
    assert sqldoor.run(door.con, sql + "$id", {"id": "b"}, timeout=5).fetchall() == [(2,)]
    assert sqldoor.run(door.con, sql + "?", ["' OR true --"], timeout=5).fetchall() == []


def test_an_answer_has_its_columns_and_types(door: Door) -> None:
    answer = sqldoor.run(door.con, "SELECT id, n FROM cleaned.urlhaus ORDER BY id", timeout=5)
    assert answer.columns == ["id", "n"]
    assert [str(kind) for kind in answer.types] == ["VARCHAR", "BIGINT"]
    assert answer.fetchall() == [("a", 1), ("b", 2)]


def test_a_plan_is_shown_and_only_of_what_may_be_asked(door: Door) -> None:
    plan = sqldoor.explain(door.con, "SELECT count(*) FROM cleaned.urlhaus WHERE id = ?", ["a"])
    assert "DELTA_SCAN" in plan
    for sql in ("ANALYZE SELECT 1", "(FORMAT json) SELECT 1", "COPY (SELECT 1) TO 'x'"):
        with pytest.raises(UsageError):
            sqldoor.explain(door.con, sql)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELEC 1", 'syntax error at or near "SELEC"'),
        ("SELECT idd FROM cleaned.urlhaus", 'Candidate bindings: "id"'),
        ("SELECT lowr(id) FROM cleaned.urlhaus", "lower"),
        ("SELECT CAST(id AS INTEGER) FROM cleaned.urlhaus", "Could not convert string 'a'"),
        ("SELECT n FROM cleaned.urlhaus WHERE id = ?", "parameter"),
        ("FROM cleaned.urlhouse", "Did you mean cleaned.urlhaus"),
        ("FROM clean.urlhaus", "cleaned.urlhaus or quarantine.urlhaus or raw.urlhaus"),
        ("FROM urlhaus", "cleaned.urlhaus or quarantine.urlhaus or raw.urlhaus"),
        ('FROM "cleaned.urlhaus"', "cleaned.urlhaus or quarantine.urlhaus or raw.urlhaus"),
        ("FROM cleaned.zzzzzz", "cleaned.tweetfeed or cleaned.urlhaus"),
        ("FROM marts.zzz", "SHOW ALL TABLES"),
    ],
)
def test_an_honest_mistake_gets_a_hint_on_one_line(door: Door, sql: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        sqldoor.run(door.con, sql, timeout=5)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert "LINE 1" not in str(caught.value)


def test_a_limit_that_duckdb_does_not_know_is_refused(tmp_path: Path) -> None:
    with duckdb.connect() as con, pytest.raises(UsageError, match="Memory"):
        sqldoor.lock(con, [], memory_limit="lots", temp_directory=tmp_path)


def test_files_that_are_gone_are_a_storage_error(tmp_path: Path) -> None:
    write_deltalake(tmp_path / "raw" / "x", pl.DataFrame({"id": ["a"]}))
    with Catalog(Layout(str(tmp_path))).connect() as con:
        for file in (tmp_path / "raw" / "x").glob("*.parquet"):
            file.unlink()
        with pytest.raises(StorageError, match="lake is whole"):
            sqldoor.run(con, "FROM raw.x", timeout=5)


def test_a_lake_behind_a_symbolic_link_is_locked_like_any_other(door: Door, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(door.root)
    layout = Layout(str(link))
    roots = [layout.layer_uri(layer) for layer in LAYERS]
    with Catalog(layout, derived={}).connect() as con:
        sqldoor.lock(con, roots, threads=1, temp_directory=tmp_path)
        assert len(sqldoor.run(con, "FROM cleaned.urlhaus", timeout=5).fetchall()) == 2
        with pytest.raises(duckdb.Error):
            con.execute(f"FROM '{link}/root.csv'")


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1", set()),
        ("SELECT * FROM raw.x JOIN aggregated.known USING (id)", {"raw.x", "aggregated.known"}),
        ("WITH a AS (SELECT * FROM cleaned.x) SELECT * FROM a", {"cleaned.x"}),
        ("SELECT * FROM a", None),
        ("FROM (SHOW ALL TABLES)", None),
        ("SELECT * FROM duckdb_views()", None),
        ("SELECT * FROM information_schema.tables", None),
    ],
)
def test_what_a_query_names_is_known_before_there_is_a_lake(
    sql: str, expected: set[str] | None
) -> None:
    found = sqldoor.asked(sql)
    assert (found if found is None else {".".join(one) for one in found}) == expected


@pytest.mark.parametrize("sql", ["SELEC 1", "DROP TABLE raw.x", "SELECT 1; SELECT 2"])
def test_what_is_no_question_is_refused_before_there_is_a_lake(sql: str) -> None:
    with pytest.raises(UsageError):
        sqldoor.asked(sql)
