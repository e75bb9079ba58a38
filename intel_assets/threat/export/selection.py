"""What may leave: which indicators, and what of the others stays and why.

Sharing scopes and the terms of the feeds are obeyed here, once for every form. How a form is
written is in its own file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb
import polars as pl

from intel_assets.errors import UsageError
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
        indicators: Rows of `aggregated.indicators`, the surest first, then by name.
        withheld: How many were left out, by reason.
        sources: The feeds that tell of what leaves, with their licences.
    """

    moment: datetime
    wanted: Wanted
    indicators: pl.DataFrame
    withheld: dict[str, int]
    sources: dict[str, str]


_REASONS = """
    SELECT
        *,
        CASE
            WHEN reserved THEN 'reserved address'
            WHEN NOT detect THEN 'context, not for detection'
            WHEN status <> 'active' THEN status
            WHEN suppressed THEN 'suppressed by a warninglist'
            WHEN confidence < ? THEN 'confidence too low'
            WHEN list_position(?::VARCHAR[], tlp) > list_position(?::VARCHAR[], ?)
                THEN 'sharing scope too narrow'
            WHEN NOT (redistributable OR list_has_any(sources, ?::VARCHAR[]))
                THEN 'terms forbid passing on'
        END AS reason
    FROM aggregated.indicators
    WHERE len(?::VARCHAR[]) = 0 OR indicator_type IN (SELECT unnest(?::VARCHAR[]))
"""


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
    scopes, types = list(TLP), list(wanted.types)
    found = connection.execute(
        _REASONS,
        [wanted.min_confidence, scopes, scopes, wanted.tlp, list(wanted.restricted), types, types],
    ).pl()
    leaves = found.filter(pl.col("reason").is_null()).drop("reason")
    withheld = found.filter(pl.col("reason").is_not_null()).group_by("reason").len().sort("reason")
    told = sorted(set(leaves["sources"].explode().drop_nulls()))
    ((moment,),) = connection.execute("SELECT asked_at()").fetchall()
    return Selection(
        moment=moment,
        wanted=wanted,
        indicators=leaves.sort(["confidence", "indicator"], descending=[True, False]),
        withheld=dict(withheld.iter_rows()),
        sources={name: feeds[name] for name in told},
    )
