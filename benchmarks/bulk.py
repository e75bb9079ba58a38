"""Bulk: a large URLhaus dump all the way to aggregated, against one DuckDB statement.

The statement reads the same CSV, types it, canonicalises, deduplicates and writes one Parquet file;
the product also lands the body, keeps every version, checks contracts and writes four tables.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from benchmarks.measure import RESULTS, Bound, Outcome, Work, middle, work

ROWS = 3_000_000
TIMES = 10
DECISION = "benchmark-bulk.md"


def run(rows: int = ROWS, rounds: int = 3, cache: Path = RESULTS / "dumps") -> Outcome:
    """Measure; the contenders take turns.

    Args:
        rows: Records of the large dump; the small one has a tenth.
        rounds: How often each contender runs; odd, for the median.
        cache: Where dumps are kept from call to call.
    """
    large, small = _dump(cache, rows), _dump(cache, rows // TIMES)
    duckdb, pipeline, tenth = [], [], []
    for _ in range(rounds):
        duckdb.append(_once("duckdb", large))
        pipeline.append(_once("pipeline", large))
        tenth.append(_once("pipeline", small))
    if pipeline[0].told["records"] != duckdb[0].told["records"]:
        raise RuntimeError(f"not the same work: {pipeline[0].told} against {duckdb[0].told}")
    theirs, ours, smaller = _seconds(duckdb), _seconds(pipeline), _seconds(tenth)
    peak = max(one.peak_mib for one in pipeline) / 1024
    return Outcome(
        "bulk",
        DECISION,
        [
            Bound("times the time of DuckDB", round(ours / theirs, 3), 2.0),
            Bound("peak memory, GiB", round(peak, 3), 2.5),
            Bound(f"times the time for {TIMES} times the rows", round(ours / smaller, 3), 10.5),
        ],
        {
            "records": duckdb[0].told["records"],
            "dump, MB": large.stat().st_size // 10**6,
            "DuckDB, s": theirs,
            "DuckDB, processor s": middle([one.cpu_seconds for one in duckdb]),
            "DuckDB, peak GiB": round(max(one.peak_mib for one in duckdb) / 1024, 3),
            "pipeline, s": ours,
            "pipeline, processor s": middle([one.cpu_seconds for one in pipeline]),
            "pipeline, a tenth of the rows, s": smaller,
            "rounds": rounds,
        },
    )


def _seconds(runs: list[Work]) -> float:
    return middle([one.told["seconds"] for one in runs])


def _dump(cache: Path, rows: int) -> Path:
    """Return a dump, made if it is not there yet."""
    file = cache / f"urlhaus-{rows}.csv"
    if not file.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        work("benchmarks.dump", file, str(rows), folder=cache)
    return file


def _once(contender: str, dump: Path) -> Work:
    """Let a contender take a dump, which the system holds in memory, into a new folder."""
    with dump.open("rb") as file:
        while file.read(2**24):
            pass
    folder = Path(tempfile.mkdtemp(prefix="intel-bulk-"))
    try:
        return work("benchmarks.bulk_work", contender, dump.absolute(), folder, folder=folder)
    finally:
        shutil.rmtree(folder)
