"""A lake of twelve feeds for the benchmarks of gold: `python -m benchmarks.gold_world FOLDER ...`.

Four lists of addresses of which each day two in a hundred go and come, and eight feeds of events:
URLs, names, addresses and digests, of which some are told of by several. All of it hangs on the
number of a row alone.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl

from intel_assets.lakehouse.contracts import Contract
from intel_assets.lakehouse.format import check_format
from intel_assets.lakehouse.lake import Lake
from intel_assets.lakehouse.landing import Landing
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.tables import Rewrite, Table
from intel_assets.sources import registry
from intel_assets.threat.model import IndicatorRecord

FIRST = date(2026, 3, 1)
LISTS = ("ipsum", "malicious_ip", "abuseipdb", "threatfox_ips")
EVENTS = (
    *("urlhaus", "tweetfeed", "threatfox", "otx"),
    *("malwarebazaar", "circl_osint", "botvrij", "urlhaus_payloads"),
)
LISTED, TOLD = 10_000, 1_800
"""Records of a list's snapshot, and of a day of an event feed."""
_ADDRESS = "(1 + {0} % 223) || '.' || ({0} // 223 % 256) || '.' || ({0} // 57088 % 256) || '.7'"
_LISTED = f"""
    SELECT
        DATE '{FIRST}' + d::INTEGER AS day,
        d * {LISTED // 50} + r + $feed * {LISTED // 4} AS n,
        'ipv4' AS indicator_type,
        {_ADDRESS.format("n")} AS indicator,
        indicator AS host,
        NULL::VARCHAR AS threat
    FROM range($first, $last) AS days (d), range($rows) AS records (r)
"""
_TOLD = f"""
    SELECT
        DATE '{FIRST}' + d::INTEGER AS day,
        -- One in ten is told of by others too, and again the next day.
        CASE WHEN r % 10 = 0 THEN r ELSE (($feed + 2) * 1000 + d) * 10000 + r END AS n,
        ['url', 'domain', 'ipv4', 'sha256'][1 + r % 4] AS indicator_type,
        CASE r % 4
            WHEN 0 THEN 'http://h' || (n // 3) || '.example/' || n
            WHEN 1 THEN 'n' || n || '.example'
            WHEN 2 THEN {_ADDRESS.format("n")}
            ELSE sha256(n::VARCHAR)
        END AS indicator,
        CASE r % 4
            WHEN 0 THEN 'h' || (n // 3) || '.example'
            WHEN 3 THEN NULL
            ELSE indicator
        END AS host,
        ['phishing', 'c2', 'malware'][1 + r % 3] AS threat
    FROM range($first, $last) AS days (d), range($rows) AS records (r)
"""
_RECORDS = """
    SELECT
        day,
        md5(day || indicator) AS record_id,
        md5(indicator) AS record_digest,
        day::TIMESTAMPTZ + INTERVAL 12 HOUR AS known_from,
        indicator_type,
        indicator,
        indicator AS raw_value,
        day::TIMESTAMPTZ + INTERVAL 9 HOUR AS first_seen,
        CASE WHEN threat IS NOT NULL THEN 40 + (n % 50)::INTEGER END AS confidence,
        threat,
        CASE WHEN n % 3 = 0 AND threat IS NOT NULL THEN 'family' || n % 40 END AS malware,
        CASE WHEN threat IS NOT NULL THEN ['seen', 'tag' || n % 100] END AS tags,
        'clear' AS tlp,
        host,
        true AS detect,
        false AS reserved
    FROM ({rows})
    QUALIFY row_number() OVER (PARTITION BY day, indicator) = 1
"""


def lake_at(folder: Path) -> Lake:
    """Return the lake, at noon behind its last day."""
    layout = Layout(str(folder / "lake"))
    check_format(layout, create=True)
    return Lake(layout, Landing(layout), lambda: datetime(2026, 7, 1, 12, tzinfo=UTC))


def days(first: int, last: int) -> list[date]:
    """Return the days from one number up to another."""
    return [FIRST + timedelta(days=n) for n in range(first, last)]


def tell(lake: Lake, first: int, last: int, share: float = 1.0) -> int:
    """Write days of every feed; return how many records those are.

    Args:
        lake: The lake.
        first: The number of the first day.
        last: That behind the last.
        share: How much of a day's records there is.
    """
    told = 0
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        for number, feed in enumerate((*LISTS, *EVENTS)):
            rows, size = (_LISTED, LISTED) if feed in LISTS else (_TOLD, TOLD)
            frame = con.execute(
                _RECORDS.format(rows=rows),
                {"feed": number, "first": first, "last": last, "rows": int(size * share)},
            ).pl()
            told += frame.height
            contract = Contract("cleaned", feed, IndicatorRecord, "A feed.")
            append(lake, contract, frame)
    return told


def warn(lake: Lake) -> None:
    """Write a snapshot of warninglists: three thousand ranges and names."""
    ranges = [
        {
            "match": "cidr",
            "value": f"{1 + n % 223}.{n // 223}.0.0/16",
            "first_address": f"00000000000000000000ffff{1 + n % 223:02x}{n // 223:02x}0000",
            "last_address": f"00000000000000000000ffff{1 + n % 223:02x}{n // 223:02x}ffff",
            "matching_types": ["ipv4", "cidr"],
        }
        for n in range(0, 20_000, 10)
    ]
    names = [
        {
            "match": "hostname",
            "value": f"h{n}.example",
            "matching_types": ["domain", "hostname", "url"],
        }
        for n in range(1000)
    ]
    (spec,) = registry.load(["warninglists"])
    frame = pl.DataFrame([*ranges, *names], schema_overrides={"first_address": pl.String})
    made = frame.with_columns(
        day=pl.lit(FIRST),
        record_id=pl.col("value"),
        record_digest=pl.col("value"),
        known_from=pl.lit(datetime(2026, 3, 1, 12, tzinfo=UTC)),
        list=pl.lit("list"),
        list_title=pl.lit("A list"),
        version=pl.lit("1"),
    )
    append(lake, spec.cleaned, made)


def append(lake: Lake, contract: Contract, frame: pl.DataFrame) -> None:
    """Write rows behind those of a table; columns that they lack are null."""
    whole = frame.with_columns(
        pl.lit(None, kind).alias(name)
        for name, kind in contract.schema.items()
        if name not in frame.columns
    ).select(pl.col(name).cast(kind) for name, kind in contract.schema.items())
    table = Table(lake.layout, contract)
    change = Rewrite(whole.sort("day", "record_id"), None)
    table.redone(lambda stored: table.rewrite(stored, change, {"run_id": "benchmark"}))


def main(folder: str, number: str, share: str) -> None:
    """Write a lake of so many days, and say how many records it has."""
    lake = lake_at(Path(folder))
    told = tell(lake, 0, int(number), float(share))
    warn(lake)
    print(json.dumps({"records": told}))


if __name__ == "__main__":
    main(*sys.argv[1:])
