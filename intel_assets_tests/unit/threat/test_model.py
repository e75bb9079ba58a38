"""The common model of threat feeds."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl

from intel_assets.lakehouse.catalog import packaged_unions
from intel_assets.lakehouse.contracts import Contract
from intel_assets.threat.model import IndicatorRecord, describe

NOW = datetime(2026, 8, 22, tzinfo=UTC)


def described(*rows: tuple[str | None, str | None]) -> pl.DataFrame:
    raw = pl.LazyFrame(rows, schema={"value": pl.String, "kind": pl.String}, orient="row")
    made = describe(
        raw,
        indicator=pl.col("value"),
        indicator_type=pl.col("kind"),
        raw_value=pl.col("value"),
        first_seen=pl.lit(NOW),
    )
    return made.collect()


def test_a_name_is_a_domain_where_it_can_be_registered_and_else_a_hostname():
    found = described(
        ("example.com", "hostname"), ("www.example.com", "domain"), ("co.uk", "domain")
    )
    assert found["indicator_type"].to_list() == ["domain", "hostname", "hostname"]
    assert found["registered_domain"].to_list() == ["example.com", "example.com", None]


def test_the_host_of_a_url_and_of_a_name_or_address_is_said():
    found = described(
        ("http://www.example.com/a", "url"),
        ("198.18.0.1", "ipv4"),
        ("198.18.0.0/24", "cidr"),
        (None, "url"),
    )
    assert found["host"].to_list() == ["www.example.com", "198.18.0.1", None, None]


def test_what_a_feed_says_nothing_of_is_null_and_it_means_what_it_lists():
    found = described(("10.0.0.1", "ipv4"), ("example.com", "domain"))
    assert found["reserved"].to_list() == [True, False]
    assert found["detect"].to_list() == [True, True]
    assert found["tlp"].to_list() == ["clear", "clear"]
    for column in ("confidence", "threat", "malware", "tags", "also", "reference", "last_seen"):
        assert found[column].null_count() == 2


def test_the_union_of_the_feeds_has_the_columns_of_the_model():
    (union,) = [one for one in packaged_unions() if one.name == "indicators"]
    model = Contract("cleaned", "x", IndicatorRecord, "A feed.").schema
    assert set(union.columns) == set(model) - {"record_digest"}
    kinds = {
        pl.String: "VARCHAR",
        pl.Date: "DATE",
        pl.Boolean: "BOOLEAN",
        pl.Int32: "INTEGER",
        pl.Datetime: "TIMESTAMPTZ",
        pl.List: "VARCHAR[]",
    }
    for name, kind in union.columns.items():
        assert kinds[model[name].base_type()] == kind, name
