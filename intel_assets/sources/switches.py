"""Switches: which sources are on, and why one that is off is off.

Settings win over the switch that `intel source enable|disable` sets, which stands in the lake
(`ops.switches`) so that every machine that uses it sees the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import pandera.polars as pa
import polars as pl

from intel_assets.lakehouse.contracts import Contract, Instant, field
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.tables import Table
from intel_assets.sources.spec import SourceSpec


class SwitchRow(pa.DataFrameModel):
    """A source was switched on or off; the newest row of a source counts."""

    source: pl.String = field("The source.")
    enabled: pl.Boolean = field("Whether it is on from now on.")
    why: pl.String = field("The reason that was given.", nullable=True)
    who: pl.String = field("Who switched it.", cls="internal")
    recorded_at: Instant = field("When.")


SWITCHES = Contract(
    "ops", "switches", SwitchRow, "Which sources are switched on or off.", partition_by=()
)


@dataclass(frozen=True)
class Off:
    """Why a source is not asked."""

    state: Literal["disabled", "not_configured"]
    reason: str


@dataclass(frozen=True)
class Rollout:
    """What the settings say about sources.

    Attributes:
        only: The sources that are on; all when empty.
        disabled: The sources that are off.
    """

    only: Collection[str] = ()
    disabled: Collection[str] = ()


def switch(
    layout: Layout, source: str, *, on: bool, why: str | None, who: str, at: datetime
) -> None:
    """Switch a source on or off for everybody who uses the lake."""
    row = {"source": source, "enabled": on, "why": why, "who": who, "recorded_at": at}
    Table(layout, SWITCHES).append(pl.DataFrame([row], schema=SWITCHES.schema), {"source": source})


def switched_off(layout: Layout) -> dict[str, str]:
    """Return the sources whose switch is off, with the reason that was given."""
    rows = Table(layout, SWITCHES).read_where(pl.lit(True)).sort("recorded_at")
    newest = rows.unique("source", keep="last").filter(~pl.col("enabled"))
    return {
        row["source"]: f"switched off by {row['who']} on {row['recorded_at']:%Y-%m-%d}"
        + (f": {row['why']}" if row["why"] else "")
        for row in newest.iter_rows(named=True)
    }


def switched_on(layout: Layout) -> pl.DataFrame:
    """Return when each source was last switched on, if anybody did: `source, since`."""
    rows = Table(layout, SWITCHES).read_where(pl.col("enabled"))
    return rows.group_by("source").agg(since=pl.col("recorded_at").max())


def off(
    specs: Iterable[SourceSpec],
    rollout: Rollout,
    switched: Mapping[str, str],
    secrets: Collection[str],
) -> dict[str, Off]:
    """Return the sources that are not to be asked, and why.

    Args:
        specs: The sources.
        rollout: What the settings say.
        switched: What the switches say.
        secrets: The names of the secrets that are set.
    """
    found: dict[str, Off] = {}
    for spec in specs:
        unset = [name for name in spec.secrets if name not in secrets]
        if spec.name in rollout.disabled:
            found[spec.name] = Off("disabled", "switched off by INTEL_DISABLED")
        elif rollout.only and spec.name not in rollout.only:
            found[spec.name] = Off("disabled", "INTEL_SOURCES does not name it")
        elif spec.name in switched:
            found[spec.name] = Off("disabled", switched[spec.name])
        elif unset:
            found[spec.name] = Off("not_configured", f"{' and '.join(unset)} is not set")
    return found
