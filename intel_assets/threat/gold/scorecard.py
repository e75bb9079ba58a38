"""`aggregated.feed_overlap` and `aggregated.feed_measures`: what the feeds are worth.

Both are made as a whole, of the ninety days that end with the newest day of which any feed told.
`aggregated.feed_scorecard` adds what hangs on the present.
"""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

from intel_assets.lakehouse.contracts import Contract, Instant, field
from intel_assets.sources.gold import GoldSpec
from intel_assets.sources.spec import SourceSpec
from intel_assets.threat.gold.feeds import OWNER, sql
from intel_assets.threat.model import INDICATOR_TYPES

OVERLAP_WINDOWS = (1, 7, 30, 90)
SCORED_WINDOWS = (7, 30, 90)
"""Days. So says the SQL."""
_WINDOW = (
    "The window: so many days, ending with the newest day of which any feed told. A feed tells of "
    "an indicator on a day if aggregated.sightings says so, other than that it is `gone`."
)


class Overlap(pa.DataFrameModel):
    """What a feed has in common with another in a window; each pair stands in both directions."""

    window_days: pl.Int64 = field(_WINDOW, isin=OVERLAP_WINDOWS)
    feed: pl.String = field("The feed.")
    other: pl.String = field("The other feed.")
    indicator_type: pl.String = field(
        "The type of the indicators, if both tell of such; `all` for all types together.",
        isin=[*INDICATOR_TYPES, "all"],
    )
    feed_indicators: pl.Int64 = field("Distinct indicators that the feed told of.", ge=1)
    other_indicators: pl.Int64 = field("Distinct indicators that the other told of.", ge=1)
    shared: pl.Int64 = field("Distinct indicators that both told of.", ge=0)
    only_feed: pl.Int64 = field("`feed_indicators` - `shared`.", ge=0)
    share_of_feed: pl.Float64 = field("`shared` / `feed_indicators`.", ge=0, le=1)
    jaccard: pl.Float64 = field(
        "`shared` / (`feed_indicators` + `other_indicators` - `shared`).", ge=0, le=1
    )


class Measures(pa.DataFrameModel):
    """What a feed is worth in a window; a feed that told of nothing in it has no row."""

    window_days: pl.Int64 = field(_WINDOW, isin=SCORED_WINDOWS)
    source: pl.String = field("The feed.")
    sightings: pl.Int64 = field("Indicators that it told of on a day, over all days.", ge=1)
    indicators: pl.Int64 = field("Distinct indicators.", ge=1)
    unique_share: pl.Float64 = field(
        "Of `indicators`, the share that no other feed told of in the window.", ge=0, le=1
    )
    compared: pl.Int64 = field(
        "Indicators of which can be said whether the feed was first: it told of them first within "
        "the window, and an independent feed told of them within the ninety days. Independent are "
        "feeds of which neither is made of the other, nor both of a third (aggregated.feeds). When "
        "a feed told of one first: an event feed at the earliest `first_seen` that it states, "
        "which may lie before it published it; a list on the day of the first snapshot of the "
        "ninety days that has it. Left out is what stood in a list before (in its first snapshot "
        "of the ninety days, or `back`): nobody knows since when; and what such a list may have "
        "had before all others.",
        ge=0,
    )
    first_share: pl.Float64 = field(
        "Of `compared`, the share that it told of before every independent feed. Two event feeds "
        "are compared to the moment; with a list, days are compared, and on the same day nobody "
        "is first.",
        nullable=True,
        ge=0,
        le=1,
    )
    lead_hours: pl.Float64 = field(
        "Of those that it told of first, the median of the hours until the next independent feed "
        "did; 24 a day where one of the two is a list.",
        nullable=True,
        ge=0,
    )
    dwell_days: pl.Float64 = field(
        "The median, over `indicators`, of the days of the window on which it told of each.", ge=1
    )
    churn: pl.Float64 = field(
        "Of a list, what came (`added`, `back`) and went (`gone`) in a day as a share of what "
        "stands there: the sum over its snapshots of the window, divided by the sum of their sizes "
        "times the days since the snapshot before. The first snapshot of the ninety days is left "
        "out. Null for event feeds.",
        nullable=True,
        ge=0,
    )
    withdrawn_share: pl.Float64 = field(
        "Of what came to a list in the window, the share that was gone from the snapshot of the "
        "next day. The first snapshot of the ninety days is left out, and what came on a day after "
        "which there is no snapshot. Null for event feeds: what they take back no longer stands "
        "in aggregated.sightings.",
        nullable=True,
        ge=0,
        le=1,
    )
    warninglist_share: pl.Float64 = field(
        "Of `indicators`, the share that stands in aggregated.warninglist_hits.", ge=0, le=1
    )
    newest_at: Instant = field(
        "The feed's newest record: an event feed's latest `first_seen` that does not lie after "
        "its receipt; of a list, when the newest snapshot was received.",
        nullable=True,
    )


OVERLAP = Contract(
    "aggregated",
    "feed_overlap",
    Overlap,
    "How much two feeds have in common, by window and type of indicator.",
    partition_by=(),
)
MEASURES = Contract(
    "aggregated",
    "feed_measures",
    Measures,
    "What each feed is worth, by window; aggregated.feed_scorecard says also how fresh it is.",
    partition_by=(),
)


def tables(every: list[SourceSpec]) -> list[GoldSpec]:
    """Return the tables; they are made of the sightings of whatever feeds there are."""
    del every
    return [
        GoldSpec(
            contract=contract,
            sql=sql(contract.name),
            grain="whole",
            reads=("sightings",),
            domain="threat",
            owner=OWNER,
        )
        for contract in (OVERLAP, MEASURES)
    ]
