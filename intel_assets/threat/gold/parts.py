"""How `aggregated.indicator_parts` is kept up: a new day touches only the indicators it names.

They are made anew from all of their sightings and stand in the part `recent`, where the newest row
of each counts, until their bucket is merged into `base`. Whatever way the sightings came, the rows
say the same as if all were made at once. When the warninglists changed all rows are made, and those
that differ are written. Which versions of both are in stands in the same commit as the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import duckdb
import polars as pl
from deltalake import ColumnProperties, DeltaTable, WriterProperties
from deltalake.exceptions import DeltaError

from intel_assets.errors import StorageError
from intel_assets.lakehouse.contracts import Contract
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
BUCKETS = (*"0123456789abcdef", "ranges")
OUTGROWN = 0.1
"""A bucket is merged when its recent rows are more than this share of those in its base."""
MOST_ROWS = 1_000_000
"""Rows that one commit writes, if they are of more than one bucket."""
FILES = 8
"""When a bucket's recent rows lie in more files than that, the small ones are merged."""

_KEYS = ("indicator", "indicator_type")
_ORDER = ("place", *_KEYS)
_CONTENT = "content"
_KNOWN = """
    CREATE TABLE known AS
    SELECT bucket, place, indicator, indicator_type, {said} AS said
    FROM (
        FROM aggregated.indicator_parts {which}
        QUALIFY row_number() OVER (
            PARTITION BY bucket, place, indicator, indicator_type ORDER BY written DESC
        ) = 1
    )
    WHERE len(listings) > 0;
    -- What no feed tells of any more says so.
    INSERT INTO made BY NAME
    SELECT bucket, place, indicator, indicator_type, [] AS listings
    FROM known ANTI JOIN made USING (indicator, indicator_type)
"""
_PLAIN = ColumnProperties(dictionary_enabled=False)
WRITER = WriterProperties(
    compression="ZSTD",
    compression_level=1,
    # Sorted inside, so that a look-up reads one of these groups.
    max_row_group_size=8_192,
    column_properties={"place": _PLAIN, "indicator": _PLAIN, "host": _PLAIN, "address": _PLAIN},
)


_Portion = tuple[Sequence[str], pl.DataFrame]


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

    @property
    def of_sightings(self) -> str:
        """The name under which the version of the sightings stands."""
        return next(name for name in self.seen if name.startswith(f"{_name(SIGHTINGS)} "))

    def news(self, stored: DeltaTable) -> set[str]:
        """Return what has another version than was taken in."""
        return {one for one, now in self.seen.items() if stored.transaction_version(one) != now}


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
        if stored is not None and inputs.seen and not inputs.news(stored):
            return _standing(spec, stored, 0)
        with workshop(lake, spec.contract, spec.sql) as shop:
            shop.stands_for(SIGHTINGS)
            known = stored is not None and _find_affected(lake, shop, stored, inputs)
            if stored is None or not known:
                portions = _all(shop, spec)
            elif inputs.news(stored) - {inputs.of_sightings}:
                portions = _different(shop, spec, stored)
            else:
                portions = _some(shop, spec, stored)
            made = _write(table, stored, portions, inputs, said, anew=not known)
        return _standing(spec, _keep_up(table, made, said), made)

    return table.redone(attempt)


# -- what changed -------------------------------------------------------------------------------


def _name(contract: Contract) -> str:
    return f"{contract.layer}.{contract.name}"


def _inputs(lake: Lake, spec: GoldSpec) -> _Inputs:
    code = code_of(spec.sql, spec.reads)
    contracts = [SIGHTINGS, *spec.sources.values()]
    opened = {_name(one): Table(lake.layout, one).open() for one in contracts}
    seen = {
        f"{name} {table.metadata().id} {code}": table.version()
        for name, table in opened.items()
        if table is not None
    }
    return _Inputs(opened[_name(SIGHTINGS)], seen)


def _find_affected(lake: Lake, shop: Workshop, stored: DeltaTable, inputs: _Inputs) -> bool:
    """Put the indicators of which a sighting came, went or changed into the table `affected`.

    Returns:
        Whether it is known which these are; else all are.
    """
    before = {name: stored.transaction_version(name) for name in inputs.seen}
    if inputs.sightings is None or any(
        was is None or was > inputs.seen[name] for name, was in before.items()
    ):
        return False
    version = before[inputs.of_sightings]
    uri = lake.layout.table_uri("aggregated", SIGHTINGS.name)
    try:
        then = DeltaTable(
            uri, version=version, storage_options=dict(lake.layout.storage_options) or None
        )
        if not set(SIGHTINGS.schema) <= {one.name for one in then.schema().fields}:
            return False
        days = _days_rewritten(then, inputs.sightings)
        columns = ", ".join(SIGHTINGS.schema)
        was, now = (
            f"SELECT {columns} FROM {relation} WHERE {days_of(days)}"  # noqa: S608 (ours)
            for relation in (
                f"delta_scan({literal(address(uri))}, version => {version})",
                "aggregated.sightings",
            )
        )
        shop.con.execute(
            "CREATE TABLE affected AS SELECT DISTINCT indicator, indicator_type "  # noqa: S608
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


# -- rows ---------------------------------------------------------------------------------------


def _all(shop: Workshop, spec: GoldSpec) -> Iterator[_Portion]:
    """Make every row."""
    shop.make(spec.sql)
    yield from _portions(shop)


def _some(shop: Workshop, spec: GoldSpec, stored: DeltaTable) -> Iterator[_Portion]:
    """Make the rows of the affected indicators."""
    shop.among("aggregated", SIGHTINGS.name, _KEYS, "affected")
    shop.make(spec.sql)
    shop.con.execute(
        "CREATE TABLE lacking AS FROM affected ANTI JOIN made USING (indicator, indicator_type)"
    )
    shop.con.execute(
        _KNOWN.format(which="SEMI JOIN lacking USING (indicator, indicator_type)", said=0)
    )
    yield from _newer(shop, stored)


def _different(shop: Workshop, spec: GoldSpec, stored: DeltaTable) -> Iterator[_Portion]:
    """Make every row, and keep those that say something else than what is stored."""
    shop.make(spec.sql)
    said = [name for name in spec.contract.schema if name not in ("part", "written")]
    shop.con.execute(_KNOWN.format(which="", said=f"hash(row({', '.join(said)}))"))
    shop.con.execute(
        "DELETE FROM made USING known WHERE made.indicator = known.indicator "  # noqa: S608 (ours)
        "AND made.indicator_type = known.indicator_type "
        f"AND hash(row({', '.join(f'made.{name}' for name in said)})) = known.said"
    )
    yield from _newer(shop, stored)


def _newer(shop: Workshop, stored: DeltaTable) -> Iterator[_Portion]:
    """Yield what was made, as newer than what is stored."""
    shop.con.execute("UPDATE made SET part = 'recent', written = ?", [stored.version() + 1])
    yield from _portions(shop)


def _portions(shop: Workshop) -> Iterator[_Portion]:
    """Yield what was made, as many buckets at a time as one commit takes."""
    counted = shop.con.execute("SELECT bucket, count(*) FROM made GROUP BY bucket").fetchall()
    for buckets in _together(dict(counted)):
        yield buckets, shop.rows(_where(buckets), ("bucket", *_ORDER))


def _together(rows: Mapping[str, int]) -> Iterator[Sequence[str]]:
    """Divide buckets into portions of no more than `MOST_ROWS` rows, or of one bucket."""
    portion: list[str] = []
    for bucket in BUCKETS:
        if portion and sum(rows.get(one, 0) for one in (*portion, bucket)) > MOST_ROWS:
            yield portion
            portion = []
        portion.append(bucket)
    yield portion


def _where(buckets: Sequence[str]) -> str:
    return f"bucket IN ({', '.join(map(literal, buckets))})"


def _write(
    table: Table,
    stored: DeltaTable | None,
    portions: Iterator[_Portion],
    inputs: _Inputs,
    said: Mapping[str, str],
    *,
    anew: bool,
) -> int:
    """Write rows, and with the last of them what was taken in; return how many there were.

    Args:
        table: The table.
        stored: As it was read.
        portions: The rows of some buckets each; of all in the end.
        inputs: What they were made of.
        said: What the commits say of themselves.
        anew: Whether they replace their buckets, or stand behind what is there.
    """
    made = 0
    for buckets, rows in portions:
        made += rows.height
        seen: dict[str, int] = {}
        if buckets[-1] == BUCKETS[-1]:
            seen |= inputs.seen
            seen |= {_CONTENT: stored.version() + 1 if stored else 0} if made or anew else {}
        if rows.is_empty() and not anew and not (stored and seen and inputs.news(stored)):
            continue
        where = _where(buckets) if anew else None
        table.rewrite(stored, Rewrite(rows, where, seen, WRITER), said)
        stored = stored or table.open()
    return made


# -- merging ------------------------------------------------------------------------------------


def _keep_up(table: Table, made: int, said: Mapping[str, str]) -> DeltaTable:
    """Merge what has grown too much; return the table as it stands then."""
    stored = table.open()
    if stored is None:
        raise StorageError(f"{table.uri} is gone while it was written.")
    sizes = _sizes(stored)
    base, recent = ({b: sizes.get((part, b), 0) for b in BUCKETS} for part in PARTS)
    due = {bucket: base[bucket] + recent[bucket] for bucket in _due(base, recent, made)}
    for buckets in _together(due) if due else ():
        _merge(table, stored, [one for one in buckets if one in due], said)
    if compact(stored, said["run_id"], most=FILES):
        stored.update_incremental()
    return stored


def _standing(spec: GoldSpec, stored: DeltaTable, made: int) -> LayerResult:
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


def _merge(
    table: Table, stored: DeltaTable, buckets: Sequence[str], said: Mapping[str, str]
) -> None:
    """Put the newest rows of buckets into their base, and nothing else beside it."""
    rows = (
        table.read_where(pl.col("bucket").is_in(buckets), stored)
        .sort("written", descending=True)
        .unique(_KEYS, keep="first", maintain_order=True)
        .filter(pl.col("listings").list.len() > 0)
        .with_columns(part=pl.lit("base"), written=pl.lit(0, pl.Int64))
        .sort("bucket", *_ORDER)
    )
    table.rewrite(stored, Rewrite(rows, _where(buckets), {}, WRITER), said)
