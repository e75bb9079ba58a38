"""A lake of many indicators for the look-up benchmark: `... benchmarks.lookup_world FOLDER N`.

Their facts are written as the gold table keeps them; what makes them is measured elsewhere.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import duckdb
import polars as pl

from benchmarks.gold_work import make
from benchmarks.gold_world import lake_at, tell, warn
from intel_assets.lakehouse.tables import Rewrite, Table
from intel_assets.threat.gold import parts
from intel_assets.threat.gold.indicators import INDICATOR_PARTS

_ADDRESS = "(1 + {0} % 223) || '.' || ({0} // 223 % 256) || '.' || ({0} // 57088 % 256) || '.9'"
VALUES = f"""
    SELECT
        n,
        ['ipv4', 'ipv4', 'url', 'url', 'domain', 'sha256'][1 + n % 6] AS indicator_type,
        CASE n % 6
            WHEN 4 THEN 'www' || n || '.example.net'
            WHEN 5 THEN sha256(n::VARCHAR)
            WHEN 2 THEN 'host' || n // 12 || '.example.org'
            WHEN 3 THEN 'host' || n // 12 || '.example.org'
            ELSE {_ADDRESS.format("n")}
        END AS place,
        CASE n % 6
            WHEN 2 THEN 'http://' || place || '/' || n
            WHEN 3 THEN 'http://' || place || ':8080/' || n
            ELSE place
        END AS indicator
    FROM range(?) AS numbers (n)
"""
_FACTS = """
    CREATE TABLE facts AS
    SELECT
        'base' AS part,
        left(sha256(place), 1) AS bucket,
        0 AS written,
        place,
        indicator,
        indicator_type,
        CASE WHEN indicator_type <> 'sha256' THEN place END AS host,
        TIMESTAMPTZ '2026-01-01' + to_seconds(hash(indicator) % 9000000) AS first_seen,
        TIMESTAMPTZ '2026-05-01' + to_seconds(hash(indicator) % 5000000) AS last_seen,
        'ipsum' AS first_reporter,
        [
            {
                'source': source,
                'first_day': DATE '2026-03-01',
                'last_day': DATE '2026-05-30',
                'days': 1 + hash(indicator) % 90,
                'gone_on': NULL::DATE,
                'confidence': 50.0
            }
            FOR source IN ['ipsum', 'otx'][: 1 + hash(indicator) % 2]
        ] AS listings,
        50.0 + hash(indicator) % 40 AS evidence,
        false AS withdrawn,
        true AS detect,
        false AS reserved,
        'clear' AS tlp,
        true AS redistributable,
        ['scan'] AS threats,
        ['family' || hash(indicator) % 300] AS malware,
        ['tag' || hash(indicator) % 500, 'seen'] AS tags
    FROM ({values})
    QUALIFY row_number() OVER (PARTITION BY place, indicator) = 1
"""


def main(folder: str, number: str) -> None:
    """Write the lake, and say how many indicators it has."""
    lake = lake_at(Path(folder))
    tell(lake, 0, 2, 0.01)
    warn(lake)
    make(lake, 0, 2)
    table = Table(lake.layout, INDICATOR_PARTS)
    with duckdb.connect(str(Path(folder) / "facts.duckdb")) as con:
        con.execute("SET TimeZone = 'UTC'; SET memory_limit = '2GB'")
        con.execute("SET preserve_insertion_order = false")
        con.execute(_FACTS.replace("{values}", VALUES), [int(number)])
        for bucket in parts.BUCKETS:
            rows = con.execute(
                "FROM facts WHERE bucket = ? ORDER BY place, indicator", [bucket]
            ).pl()
            typed = rows.select(
                pl.col(name).cast(INDICATOR_PARTS.schema[name]) for name in rows.columns
            )
            change = Rewrite(typed, None, {}, parts.WRITER)
            table.redone(lambda stored, c=change: table.rewrite(stored, c, {"run_id": "benchmark"}))
        ((made,),) = con.execute("SELECT count(*) FROM facts").fetchall()
    print(json.dumps({"indicators": made}))


if __name__ == "__main__":
    main(*sys.argv[1:])
