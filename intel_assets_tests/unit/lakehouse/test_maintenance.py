"""How compaction writes: the same rows in no more space."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pyarrow.parquet as parquet
import pytest
from deltalake import DeltaTable

from intel_assets.lakehouse.contracts import Contract, RawRecord, field
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.maintenance import compact
from intel_assets.lakehouse.tables import Change, Table

DAY = date(2026, 5, 1)
COMMIT = {"run_id": "r", "source": "x", "code_version": "1"}


class Texts(RawRecord):
    """Records with a text that is another one each time, and one that repeats."""

    url: pl.String = field("An address.")
    tags: pl.String = field("Tags.")


CONTRACT = Contract("raw", "x", Texts, "Records.")


def records(first: int, count: int) -> pl.DataFrame:
    """Return so many records, numbered from the first."""
    digests = [hashlib.md5(str(first + n).encode()).hexdigest() for n in range(count)]
    return CONTRACT.conform(
        pl.DataFrame(
            {
                "day": [DAY] * count,
                "record_id": [str(first + n) for n in range(count)],
                "record_digest": digests,
                "known_from": [datetime(2026, 5, 2, tzinfo=UTC)] * count,
                "body_sha256": ["ab" * 32] * count,
                "url": [f"http://{digest[:9]}.example/{digest[9:20]}" for digest in digests],
                "tags": ["elf,mozi" if digest < "8" else "exe" for digest in digests],
            }
        )
    )


def opened(table: Table) -> DeltaTable:
    """Return a table as it stands."""
    found = table.open()
    assert found is not None
    return found


def weight(table: Table) -> int:
    """Return the size of the files that a table consists of."""
    return sum(Path(uri).stat().st_size for uri in opened(table).file_uris())


def dictionaries(table: Table) -> dict[str, bool]:
    """Return for each text whether its values stand in a dictionary."""
    (file,) = opened(table).file_uris()
    group = parquet.ParquetFile(file).metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    return {
        column.path_in_schema: column.has_dictionary_page
        for column in columns
        if column.physical_type == "BYTE_ARRAY"
    }


@pytest.mark.parametrize("folder", ["lake", "für 100% x"])
def test_compacting_a_day_of_raw_text_takes_no_more_space_than_its_writes(
    tmp_path: Path, folder: str
) -> None:
    parts = [records(4000 * number, 4000) for number in range(6)]
    table = Table(Layout(str(tmp_path / folder)), CONTRACT)
    for part in parts:
        table.append(part, COMMIT)
    at_once = Table(Layout(str(tmp_path / "at once")), CONTRACT)
    at_once.replace_partitions(lambda _: Change(pl.concat(parts), [DAY]), COMMIT)
    before = weight(table)
    assert compact(opened(table)) == 6
    assert weight(table) <= before
    assert weight(table) <= 1.05 * weight(at_once)
    assert dictionaries(table) == dictionaries(at_once)
    assert dictionaries(table)["tags"]
    assert table.read().sort("record_id").equals(pl.concat(parts).sort("record_id"))
