"""Lists of one's own: what is allowed, and never to be blocked, and what is watched for.

An entry is a value as people paste it. An address or range meets what lies in it, a name what lies
below it, anything else what is equal (sql/indicator_facts.sql). The newest word on a value counts,
so a list as of any moment can be had (sql/own_entries.sql).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import pandera.polars as pa
import polars as pl

from intel_assets.errors import UsageError
from intel_assets.lakehouse.contracts import Contract, Instant, field
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.tables import Table
from intel_assets.threat import canonical
from intel_assets.threat.lookup import recognise

ListName = Literal["allow", "watch"]


class OwnListRow(pa.DataFrameModel):
    """A value was entered in a list of one's own, or struck from it; the newest row counts."""

    list: pl.String = field("`allow` or `watch`.", isin=["allow", "watch"])
    value: pl.String = field("The indicator, range or name, in canonical form.")
    indicator_type: pl.String = field("What it looks like.")
    match: pl.String = field(
        "What it meets: `cidr` what lies in it, `hostname` what lies below it, `string` itself.",
        isin=["cidr", "hostname", "string"],
    )
    first_address: pl.String | None = field(
        "The first address of a range, as 32 hexadecimals.", nullable=True
    )
    last_address: pl.String | None = field("The last one.", nullable=True)
    owner: pl.String = field("Whose entry it is.", cls="internal")
    reason: pl.String = field("Why it stands there.", cls="internal")
    expires_at: Instant | None = field("Until when it holds; null for good.", nullable=True)
    entered: pl.Boolean = field("Whether it was entered; false if it was struck.")
    who: pl.String = field("Who entered or struck it.", cls="internal")
    recorded_at: Instant = field("When.")


OWN_LISTS = Contract(
    "ops",
    "own_lists",
    OwnListRow,
    "What people entered in the allow-list and the watch-list, and struck from them.",
    partition_by=(),
)


@dataclass(frozen=True, kw_only=True)
class Word:
    """What somebody says of values.

    Attributes:
        entered: Whether they are entered; else they are struck.
        owner: Whose entries they are.
        reason: Why.
        expires_at: Until when they hold; None for good.
        who: Who says so.
        at: When.
    """

    entered: bool
    owner: str
    reason: str
    expires_at: datetime | None
    who: str
    at: datetime


def put(layout: Layout, name: ListName, texts: Sequence[str], word: Word) -> list[str]:
    """Enter values in a list, or strike them from it; all of them or none.

    Args:
        layout: The lake.
        name: The list.
        texts: The values, as they were pasted.
        word: What is said of them.

    Returns:
        The values in canonical form.

    Raises:
        UsageError: If one is no indicator.
    """
    rows = [_entry(text) | {"list": name} | vars(word) for text in texts]
    for row in rows:
        row["recorded_at"] = row.pop("at")
    frame = pl.DataFrame(rows, schema=OWN_LISTS.schema).unique("value", maintain_order=True)
    Table(layout, OWN_LISTS).append(frame, {"list": name})
    return frame["value"].to_list()


def _entry(text: str) -> dict[str, str | None]:
    asked = recognise(text)
    if asked.indicator is None or asked.kind is None:
        raise UsageError(
            f"'{text}' is no indicator.",
            "Give addresses, ranges, names, URLs, hashes or e-mail addresses.",
        )
    match, first, last = "string", None, None
    if asked.kind in ("ipv4", "ipv6", "cidr"):
        bounds = pl.select(canonical.bounds(pl.lit(asked.indicator))).to_series()[0]
        match, first, last = "cidr", bounds["first_address"], bounds["last_address"]
    elif asked.kind == "hostname":
        match = "hostname"
    value = asked.indicator.lower() if match == "string" else asked.indicator
    return {
        "value": value,
        "indicator_type": asked.kind,
        "match": match,
        "first_address": first,
        "last_address": last,
    }
