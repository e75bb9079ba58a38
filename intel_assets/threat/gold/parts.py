"""How `aggregated.indicator_parts` is kept up: a new day touches only the indicators it names.

They are made anew from all of their sightings and stand in the part `recent`, where the newest row
of each counts, until their bucket is merged into `base`. Whatever way the sightings came, the rows
say the same as if all were made at once. Which versions of sightings and warninglists are in stands
in the same commit as the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import duckdb
import polars as pl
from deltalake import ColumnProperties, DeltaTable, WriterProperties
from deltalake.exceptions import DeltaError

from intel_assets.errors import StorageError
from intel_assets.lakehouse.extensions import address, literal
from intel_assets.lakehouse.lake import Lake
from intel_assets.lakehouse.maintenance import compact
from intel_assets.lakehouse.tables import Rewrite, Table
from intel_assets.sources.goldsql import Workshop, code_of, days_of, workshop
from intel_assets.sources.results import LayerResult
from intel_assets.threat.gold.sightings import SIGHTINGS

if TYPE_CHECKING:
    from intel_assets.sources.gold import GoldSpec

PARTS = ("base", "recent")
BUCKETS = "0123456789abcdef"
OUTGROWN = 0.1
"""A bucket is merged when its recent rows are more than this share of those in its base."""
MOST_ROWS = 1_000_000
"""Recent rows that one commit writes."""
FILES = 8
"""When a bucket's recent rows lie in more files than that, the small ones are merged."""

_KEYS = ("indicator", "indicator_type")
_CONTENT = "content"
_PLAIN = ColumnProperties(dictionary_enabled=False)
_WRITER = WriterProperties(
    compression="ZSTD",
    compression_level=1,
    # Sorted inside, so that a look-up reads one of these groups.
    max_row_group_size=16_384,
    column_properties={"indicator": _PLAIN, "host": _PLAIN},
)


@dataclass(frozen=True)
class _Inputs:
    """What the table is made of, as it stands.

    Attributes:
        sightings: The table of sightings; None if it was never written.
        seen: For each table that is read its version, under a name that says which table it is
            and by which code it is read.
    """

    sightings: DeltaTable | None
    seen: Mapping[str, int]

    def name_of(self, table: str) -> str | None:
        """Return the name under which the version of a table stands."""
        return next((name for name in self.seen if name.startswith(f"{table} ")), None)


def make(lake: Lake, spec: GoldSpec, run_id: str) -> LayerResult:
    """Make the rows of the indicators whose sightings changed since the last time; all at first.

    Raises:
        ContractBroken: If what the SQL makes does not keep the contract.
        StorageError: If the lake cannot be read or written.
    """
    table = Table(lake.layout, spec.contract)
    said = {"run_id": run_id, "source": spec.name, "code_version": spec.code_version}

    def attempt(stored: DeltaTable | None) -> LayerResult:
        # Before the lake is opened: what comes in between is made once more the next time.
        inputs = _inputs(lake, spec)
        with workshop(lake, spec.contract, spec.sql) as shop:
            shop.stands_for(SIGHTINGS)
            known = stored is not None and _find_affected(lake, shop, stored, inputs)
            write = stored.version() + 1 if stored else 0
            frames = _some(shop, spec, write) if known else _all(shop, spec)
            made = _write(table, stored, frames, inputs, said, anew=not known)
        return _keep_up(table, spec, made, said)

    return table.redone(attempt)


# -- what changed -------------------------------------------------------------------------------


def _inputs(lake: Lake, spec: GoldSpec) -> _Inputs:
    code = code_of(spec.sql, spec.reads)
    contracts = [SIGHTINGS, *spec.sources.values()]
    opened = {f"{one.layer}.{one.name}": Table(lake.layout, one).open() for one in contracts}
    seen = {
        f"{name} {table.metadata().id} {code}": table.version()
        for name, table in opened.items()
        if table is not None
    }
    return _Inputs(opened[f"aggregated.{SIGHTINGS.name}"], seen)


def _find_affected(lake: Lake, shop: Workshop, stored: DeltaTable, inputs: _Inputs) -> bool:
    """Put the indicators that have to be made anew into the table `affected`.

    Returns:
        Whether it is known which these are; else all are.
    """
    before = {name: stored.transaction_version(name) for name in inputs.seen}
    if inputs.sightings is None or any(
        was is None or was > inputs.seen[name] for name, was in before.items()
    ):
        return False
    shop.con.execute("CREATE TABLE affected (indicator VARCHAR, indicator_type VARCHAR)")
    name = inputs.name_of(f"aggregated.{SIGHTINGS.name}")
    if not _sighted_otherwise(lake, shop, inputs.sightings, before[name]):  # type: ignore[index]
        return False
    if any(was != inputs.seen[one] for one, was in before.items() if one != name):
        _warned_otherwise(shop)
    return True


def _sighted_otherwise(
    lake: Lake, shop: Workshop, sightings: DeltaTable, version: int | None
) -> bool:
    """Find the indicators of which a sighting came, went or changed since a version.

    Returns:
        Whether that version can still be read.
    """
    uri = lake.layout.table_uri("aggregated", SIGHTINGS.name)
    options = dict(lake.layout.storage_options) or None
    try:
        then = DeltaTable(uri, version=version, storage_options=options)
        if not set(SIGHTINGS.schema) <= {one.name for one in then.schema().fields}:
            return False
        days = _days_rewritten(then, sightings)
        columns = ", ".join(SIGHTINGS.schema)
        was, now = (
            f"SELECT {columns} FROM {relation} WHERE {days_of(days)}"  # noqa: S608 (ours)
            for relation in (
                f"delta_scan({literal(address(uri))}, version => {version})",
                "aggregated.sightings",
            )
        )
        shop.con.execute(
            "INSERT INTO affected SELECT DISTINCT indicator, indicator_type "  # noqa: S608
            f"FROM (({was} EXCEPT {now}) UNION ALL ({now} EXCEPT {was}))"
        )
    except (DeltaError, duckdb.IOException, duckdb.HTTPException):
        return False  # Its log or its files are gone: past versions are kept for a month.
    return True


def _days_rewritten(then: DeltaTable, now: DeltaTable) -> list[date]:
    def files(table: DeltaTable) -> pl.DataFrame:
        return pl.DataFrame(table.get_add_actions(flatten=True)).select("path", "partition.day")

    before, after = files(then), files(now)
    changed = pl.concat(
        [before.join(after, on="path", how="anti"), after.join(before, on="path", how="anti")]
    )
    return sorted(set(changed["partition.day"].cast(pl.String).str.to_date()))


def _warned_otherwise(shop: Workshop) -> None:
    """Find the indicators that a warninglist has now and had not, or the other way round."""
    shop.con.execute(
        """
        INSERT INTO affected
        WITH warned AS (
            SELECT
                indicator,
                indicator_type,
                min({'list': list, 'reason': list_title || ': ' || value}) AS first
            FROM aggregated.warninglist_hits
            GROUP BY indicator, indicator_type
        )
        SELECT indicator, indicator_type
        FROM aggregated.indicator_parts
        FULL JOIN warned USING (indicator, indicator_type)
        WHERE
            warninglist IS DISTINCT FROM warned.first.list
            OR warning IS DISTINCT FROM warned.first.reason
        """
    )


# -- rows ---------------------------------------------------------------------------------------


def _all(shop: Workshop, spec: GoldSpec) -> Iterator[tuple[str, pl.DataFrame]]:
    """Make every row, and yield the buckets."""
    shop.make(spec.sql)
    for bucket in BUCKETS:
        yield bucket, shop.rows(f"bucket = '{bucket}'", _KEYS)


def _some(shop: Workshop, spec: GoldSpec, write: int) -> Iterator[tuple[str, pl.DataFrame]]:
    """Make the rows of the affected indicators; those without a sighting left say so."""
    shop.con.execute("CREATE TABLE wanted AS SELECT DISTINCT * FROM affected")
    shop.among("aggregated", SIGHTINGS.name, _KEYS, "wanted")
    shop.make(spec.sql)
    shop.con.execute(
        "INSERT INTO made BY NAME SELECT indicator, indicator_type, []::VARCHAR[] AS sources, "
        "left(sha256(indicator), 1) AS bucket FROM wanted ANTI JOIN made "
        "USING (indicator, indicator_type)"
    )
    shop.con.execute("UPDATE made SET part = 'recent', written = ?", [write])
    ((rows,),) = shop.con.execute("SELECT count(*) FROM made").fetchall()
    if rows <= MOST_ROWS:
        yield "", shop.rows("true", ("bucket", *_KEYS))
        return
    for bucket in BUCKETS:
        yield bucket, shop.rows(f"bucket = '{bucket}'", _KEYS)


def _write(
    table: Table,
    stored: DeltaTable | None,
    frames: Iterator[tuple[str, pl.DataFrame]],
    inputs: _Inputs,
    said: Mapping[str, str],
    *,
    anew: bool,
) -> int:
    """Write rows, and with the last of them what was taken in; return how many there were.

    Args:
        table: The table.
        stored: As it was read.
        frames: The rows by bucket; all at once under the bucket ``.
        inputs: What they were made of.
        said: What the commits say of themselves.
        anew: Whether they replace their bucket, or stand behind what is there.
    """
    made = 0
    for bucket, rows in frames:
        made += rows.height
        seen: dict[str, int] = {}
        if bucket in ("", BUCKETS[-1]):
            seen |= inputs.seen
            seen |= {_CONTENT: stored.version() + 1 if stored else 0} if made or anew else {}
        if rows.is_empty() and not anew and not _news(stored, seen):
            continue
        where = f"bucket = {literal(bucket)}" if anew else None
        table.rewrite(stored, Rewrite(rows, where, seen, _WRITER), said)
        stored = stored or table.open()
    return made


def _news(stored: DeltaTable | None, seen: Mapping[str, int]) -> bool:
    return stored is not None and any(
        stored.transaction_version(name) != version for name, version in seen.items()
    )


# -- merging ------------------------------------------------------------------------------------


def _keep_up(table: Table, spec: GoldSpec, made: int, said: Mapping[str, str]) -> LayerResult:
    """Merge what has grown too much, and say how the table stands."""
    stored = table.open()
    if stored is None:
        raise StorageError(f"{table.uri} is gone while it was written.")
    sizes = _sizes(stored)
    base, recent = ({b: sizes.get((part, b), 0) for b in BUCKETS} for part in PARTS)
    for bucket in _due(base, recent, made):
        _merge(table, stored, bucket, said)
    if compact(stored, said["run_id"], most=FILES):
        stored.update_incremental()
    sizes = _sizes(stored)
    content = stored.transaction_version(_CONTENT)
    return LayerResult(
        spec.contract.layer,
        spec.name,
        sum(sizes.values()),
        f"{stored.metadata().id}-{content}",
        stored.version(),
        made > 0,
        {"made": made, "recent": sum(n for (part, _), n in sizes.items() if part == "recent")},
    )


def _sizes(stored: DeltaTable) -> dict[tuple[str, str], int]:
    """Return the rows of each part and bucket."""
    files = pl.DataFrame(stored.get_add_actions(flatten=True))
    if files.is_empty():
        return {}
    counted = files.group_by("partition.part", "partition.bucket").agg(pl.col("num_records").sum())
    return {(part, bucket): rows for part, bucket, rows in counted.iter_rows()}


def _due(base: Mapping[str, int], recent: Mapping[str, int], made: int) -> Iterator[str]:
    """Yield the buckets to merge now, those first that have grown most.

    One at least if any has outgrown its base, so that they do not pile up; and no more than comes
    to ten times of what was made, or a sixteenth of the table: what a day costs is bound.
    """
    grown = [bucket for bucket in BUCKETS if recent[bucket] > OUTGROWN * base[bucket]]
    left = max(sum(base.values()) / len(BUCKETS), made / OUTGROWN)
    for number, bucket in enumerate(
        sorted(grown, key=lambda one: recent[one] / max(1, base[one]), reverse=True)
    ):
        left -= base[bucket] + recent[bucket]
        if number and left < 0:
            return
        yield bucket


def _merge(table: Table, stored: DeltaTable, bucket: str, said: Mapping[str, str]) -> None:
    """Put a bucket's newest rows into its base, and nothing else beside it."""
    rows = (
        table.read_where(pl.col("bucket") == bucket, stored)
        .sort("written", descending=True)
        .unique(_KEYS, keep="first", maintain_order=True)
        .filter(pl.col("sources").list.len() > 0)
        .with_columns(part=pl.lit("base"))
        .sort(_KEYS)
    )
    table.rewrite(stored, Rewrite(rows, f"bucket = {literal(bucket)}", {}, _WRITER), said)
