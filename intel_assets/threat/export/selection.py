"""What may leave: which indicators, and what of the others stays and why.

Sharing scopes and the terms of the feeds are obeyed here, once for every form. How a form is
written is in its own file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from intel_assets.errors import UsageError
from intel_assets.lakehouse.views import TableName
from intel_assets.threat.model import INDICATOR_TYPES, TLP


@dataclass(frozen=True)
class Wanted:
    """What is asked for.

    Attributes:
        types: Types of indicators; all if empty.
        min_confidence: The least confidence, 0 to 100.
        tlp: The narrowest sharing scope that may leave.
        restricted: Feeds whose terms forbid passing on, and that leave all the same.
    """

    types: Sequence[str] = ()
    min_confidence: float = 30.0
    tlp: str = "green"
    restricted: Sequence[str] = ()

    def check(self, feeds: Sequence[str]) -> None:
        """Refuse what makes no sense.

        Raises:
            UsageError: If there is no such type, scope or feed.
        """
        for kind in self.types:
            if kind not in INDICATOR_TYPES:
                raise UsageError(
                    f"There is no type '{kind}'.", f"There are {', '.join(INDICATOR_TYPES)}."
                )
        if self.tlp not in TLP:
            raise UsageError(f"There is no scope '{self.tlp}'.", f"There are {', '.join(TLP)}.")
        for feed in self.restricted:
            if feed not in feeds:
                raise UsageError(
                    f"There is no feed '{feed}'.", f"There are {', '.join(sorted(feeds))}."
                )


@dataclass(frozen=True)
class Selection:
    """What leaves.

    Attributes:
        moment: As of when.
        wanted: What was asked for.
        indicators: Rows of `aggregated.indicators`, the surest first, then by name; what they tell
            (sources, tags, malware, threats, techniques) is what feeds tell that may be passed on.
        withheld: How many were left out, by reason.
        sources: The feeds that tell of what leaves, with their licences.
        techniques: The rows of `aggregated.techniques` that these indicators name, by identifier.
    """

    moment: datetime
    wanted: Wanted
    indicators: pl.DataFrame
    withheld: dict[str, int]
    sources: dict[str, str]
    techniques: dict[str, dict[str, Any]]


TABLES = frozenset(
    [TableName("aggregated", n) for n in ("indicators", "feeds", "sightings", "techniques")]
    + [TableName("cleaned", "contexts")]
)
"""What a selection is made of."""
_SELECTION = Path(__file__).with_name("selection.sql")


def select(connection: duckdb.DuckDBPyConnection, wanted: Wanted) -> Selection:
    """Choose what leaves.

    Args:
        connection: Of a `Catalog`: now, or as of a moment.
        wanted: What is asked for.

    Raises:
        UsageError: If what is asked for makes no sense.
    """
    feeds = dict(connection.execute("SELECT source, licence FROM aggregated.feeds").fetchall())
    wanted.check(list(feeds))
    # Most stays, and is counted where it lies.
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE chosen AS {_SELECTION.read_text('utf-8')}",
        {
            "restricted": list(wanted.restricted),
            "types": list(wanted.types),
            "scopes": list(TLP),
            "tlp": wanted.tlp,
            "min_confidence": wanted.min_confidence,
        },
    )
    leaves = connection.sql(
        "SELECT * EXCLUDE (reason) FROM chosen WHERE reason IS NULL "
        "ORDER BY confidence DESC, indicator"
    ).pl()
    withheld = connection.sql(
        "SELECT reason, count(*) FROM chosen WHERE reason IS NOT NULL GROUP BY reason "
        "ORDER BY reason"
    ).fetchall()
    told = sorted(set(leaves["sources"].explode().drop_nulls()))
    named = sorted(set(leaves["techniques"].explode().drop_nulls()))
    techniques = connection.execute(
        "SELECT technique, name, url FROM aggregated.techniques "
        "WHERE list_contains($named::VARCHAR [], technique) ORDER BY technique",
        {"named": named},
    ).pl()
    ((moment,),) = connection.execute("SELECT asked_at()").fetchall()
    return Selection(
        moment=moment,
        wanted=wanted,
        indicators=leaves,
        withheld=dict(withheld),
        sources={name: feeds[name] for name in told},
        techniques={row["technique"]: row for row in techniques.iter_rows(named=True)},
    )
