"""The two contenders of the bulk benchmark, each in its own process.

`python -m benchmarks.bulk_work pipeline|duckdb DUMP FOLDER` reads a URLhaus dump and writes below
FOLDER. Its time runs from the file to the last byte written, without the imports.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

# What `intel_assets.threat.canonical` does to a URL, but for IDNA, which DuckDB does not have.
STATEMENT = r"""
COPY (
    SELECT DISTINCT ON (id)
        id::BIGINT AS id,
        strptime(dateadded, '%Y-%m-%d %H:%M:%S') AS dateadded,
        lower(parts.scheme) || '://'
            || CASE WHEN parts.account = '' THEN '' ELSE parts.account || '@' END
            || lower(parts.host)
            || CASE
                WHEN parts.port = '' THEN ''
                WHEN (lower(parts.scheme), parts.port)
                    IN (('http', '80'), ('https', '443'), ('ftp', '21')) THEN ''
                ELSE ':' || parts.port
            END
            || CASE
                WHEN parts.rest = '' THEN '/'
                WHEN parts.rest[1] = '/' THEN parts.rest
                ELSE '/' || parts.rest
            END AS url,
        lower(parts.host) AS host,
        lower(url_status) AS url_status,
        try_strptime(last_online, '%Y-%m-%d %H:%M:%S') AS last_online,
        threat,
        CASE WHEN tags <> 'None' THEN string_split(tags, ',') END AS tags,
        urlhaus_link,
        reporter
    FROM (
        SELECT
            *,
            regexp_extract(
                url,
                '^([a-zA-Z][a-zA-Z0-9+.-]*)://(?:([^/?#@]*)@)?'
                || '(\[[0-9a-fA-F:.]+\]|[^/?#:@\[\]\s\\]+)(?::(\d{1,5}))?([/?#][^\r\n]*)?$',
                ['scheme', 'account', 'host', 'port', 'rest']
            ) AS parts
        FROM read_csv(
            $dump, header = false, skip = 9, quote = '"', escape = '"', all_varchar = true,
            names = [
                'id', 'dateadded', 'url', 'url_status', 'last_online', 'threat', 'tags',
                'urlhaus_link', 'reporter'
            ]
        )
    )
) TO $target (FORMAT parquet, COMPRESSION zstd)
"""


def with_duckdb(dump: Path, folder: Path) -> dict[str, Any]:
    """Take a dump into one Parquet file with one statement."""
    import duckdb

    target = folder / "urlhaus.parquet"
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")  # it would stand in the output
        began = time.perf_counter()
        places = {"dump": str(dump), "target": str(target)}
        rows = connection.execute(STATEMENT, places).fetchall()[0][0]
        return {"seconds": time.perf_counter() - began, "records": rows}


def with_pipeline(dump: Path, folder: Path) -> dict[str, Any]:
    """Take a dump through landing, raw, cleaned and aggregated of a new lake."""
    from benchmarks.dump import MADE
    from intel_assets.engine import open_engine
    from intel_assets.settings import Settings
    from intel_assets.threat import urlhaus

    settings = Settings(lake=str(folder / "lake"), state=folder / "state")
    rows = {"raw": 0, "cleaned": 0, "rejected": 0, "days": 0}
    began = time.perf_counter()
    with open_engine(settings) as engine:
        pipeline = engine.pipeline(urlhaus.SPEC, f"benchmark-{uuid4()}")
        for result in pipeline.land({dump: None}, MADE):
            if result.state != "complete":
                raise RuntimeError(f"{result.day} is {result.state}: {result.message}")
            held = {layer.layer: layer.rows for layer in result.layers}
            rows["days"] += held["aggregated"]
            rows["rejected"] += result.rejected
            rows["raw"] += held["raw"]
            rows["cleaned"] += held["cleaned"]
    seconds = time.perf_counter() - began
    if rows["raw"] != rows["cleaned"] + rows["rejected"]:
        raise RuntimeError(f"raw is not cleaned and rejected: {rows}")
    return {"seconds": seconds, "records": rows["raw"], "days": rows["days"]}


CONTENDERS: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
    "duckdb": with_duckdb,
    "pipeline": with_pipeline,
}

if __name__ == "__main__":
    contender, source, place = sys.argv[1:]
    print(json.dumps(CONTENDERS[contender](Path(source), Path(place))))
