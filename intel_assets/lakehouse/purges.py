"""`ops.purges`: bodies on their way out of landing, a row for each step.

What is recorded here first happens afterwards, so a body is never gone without a word. Which
bodies may go is decided in sources/retention.py.
"""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

from intel_assets.lakehouse.contracts import Contract, Instant, field
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.tables import Table


class PurgeRow(pa.DataFrameModel):
    """A step of a body on its way out of landing."""

    source: pl.String = field("The source that received it, the partition of this table.")
    body_sha256: pl.String = field("The body.")
    stage: pl.String = field(
        "marked: no day is folded from it any more; aside: it is out of the way; gone: it is "
        "removed; kept: it stays after all.",
        isin=("marked", "aside", "gone", "kept"),
    )
    fetches: pl.Int64 = field("Requests that it answered.")
    last_received: Instant = field("When it was received last.")
    freed: pl.Int64 = field("Bytes that became free.")
    marked_at: Instant = field("When it was marked: requests recorded later are not meant.")
    run_id: pl.String = field("The run.")
    recorded_at: Instant = field("When this row was written.")


PURGES = Contract(
    "ops",
    "purges",
    PurgeRow,
    "Bodies that said nothing new, on their way out of landing.",
    partition_by=("source",),
)


class Purges:
    """The rows of one source in `ops.purges`."""

    def __init__(self, layout: Layout, source: str) -> None:
        """Name the source."""
        self.source = source
        self._table = Table(layout, PURGES)

    def standing(self) -> pl.DataFrame:
        """Return the last step of each body."""
        rows = self._table.read_where(pl.col("source") == self.source)
        return rows.sort("recorded_at").unique("body_sha256", keep="last", maintain_order=True)

    def record(self, rows: pl.DataFrame, run_id: str) -> None:
        """Write steps."""
        self._table.append(rows, {"run_id": run_id, "source": self.source})

    def kept(self, fetches: pl.DataFrame) -> pl.DataFrame:
        """Return the fetches that days are folded from: not those whose bodies are going.

        Args:
            fetches: Rows of `ops.fetches`.
        """
        return without(fetches, self.standing().filter(pl.col("stage") != "kept"))


def without(fetches: pl.DataFrame, steps: pl.DataFrame) -> pl.DataFrame:
    """Return the fetches that some steps do not mean.

    A body that came again after it was marked is a body like any other.
    """
    marks = steps.select("body_sha256", "marked_at")
    marked = fetches.join(marks, "body_sha256", how="left", maintain_order="left")
    going = (pl.col("recorded_at") <= pl.col("marked_at")).fill_null(False)
    return marked.filter(~going).drop("marked_at")
