"""ops.quota: what each source allows, and what of it is used."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import duckdb
import pytest

from intel_assets.lakehouse.catalog import derived_sql
from intel_assets.sources import registry

NOW = datetime(2026, 6, 10, 12, tzinfo=UTC)
SQL = derived_sql()["ops.quota"]


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'; CREATE SCHEMA ops")
        con.execute(f"CREATE MACRO asked_at() AS TIMESTAMPTZ '{NOW.isoformat()}'")
        con.execute(
            "CREATE TABLE ops.fetches "
            "(source VARCHAR, received_at TIMESTAMPTZ, attempts BIGINT, outcome VARCHAR)"
        )
        yield con


def asked(con: duckdb.DuckDBPyConnection, source: str, at: datetime, attempts: int) -> None:
    con.execute("INSERT INTO ops.fetches VALUES (?, ?, ?, 'fetched')", [source, at, attempts])


def test_the_table_has_the_quotas_of_the_registry(con: duckdb.DuckDBPyConnection) -> None:
    found = con.sql(f"SELECT source, allowed, per FROM ({SQL})").fetchall()
    quotas = [(one.name, one.quota) for one in registry.load() if one.quota]
    assert found == [(name, quota.requests, quota.per) for name, quota in quotas]


def test_what_was_asked_since_the_day_began_is_used(con: duckdb.DuckDBPyConnection) -> None:
    asked(con, "abuseipdb", NOW - timedelta(hours=1), 2)
    asked(con, "abuseipdb", NOW - timedelta(hours=12), 1)
    asked(con, "abuseipdb", NOW - timedelta(hours=13), 5)
    asked(con, "greynoise", NOW - timedelta(days=1), 9)
    asked(con, "virustotal", NOW, 600)
    con.execute("INSERT INTO ops.fetches VALUES ('abuseipdb', ?, 1, 'landed')", [NOW])
    found = {row[0]: row[1:] for row in con.sql(SQL).fetchall()}
    began, ends = NOW.replace(hour=0), NOW.replace(hour=0) + timedelta(days=1)
    assert found["abuseipdb"] == ("day", 5, 3, 2, began, ends)
    assert found["greynoise"] == ("day", 50, 0, 50, began, ends)
    assert found["virustotal"][2:4] == (600, 0)
