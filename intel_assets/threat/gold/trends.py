"""`aggregated.threat_trends`: how much is told of what, day by day.

What is usual and what is odd is computed when it is asked: `aggregated.threat_anomalies`.
"""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

from intel_assets.lakehouse.contracts import Contract, field
from intel_assets.sources.gold import GoldSpec
from intel_assets.sources.spec import SourceSpec
from intel_assets.threat.gold.feeds import OWNER, sql, telling
from intel_assets.threat.gold.sightings import HISTORY_DAYS

DIMENSIONS = ("type", "threat", "malware", "tag", "country")
LARGEST = 50
"""Values of a dimension that stand alone on a day. So says the SQL."""
OTHER = "(other)"


class Trend(pa.DataFrameModel):
    """A value of a dimension on a day, over all feeds."""

    day: pl.Date = field("Day (UTC).")
    dimension: pl.String = field(
        "What the values are: the type of the indicators, what they do, their malware family, the "
        "feeds' tags, and the country of addresses where a feed says so.",
        isin=DIMENSIONS,
    )
    value: pl.String = field(
        f"The value. Of each dimension a day has the {LARGEST} with the most sightings; what the "
        f"others have together is `{OTHER}`. What has several values counts with each."
    )
    sightings: pl.Int64 = field(
        "Sightings: an indicator that two feeds tell of is two. Entries of lists count each day "
        "that they stand there.",
        ge=1,
    )
    indicators: pl.Int64 = field("Distinct indicators.", source="indicator", ge=1)
    new_indicators: pl.Int64 = field(
        f"Of these, those that no feed told of in the {HISTORY_DAYS} days before.",
        source="indicator",
        ge=0,
    )


TRENDS = Contract(
    "aggregated",
    "threat_trends",
    Trend,
    "How much is told of each type, threat, malware family, tag and country, by day.",
)


def tables(every: list[SourceSpec]) -> list[GoldSpec]:
    """Return the table, of these feeds."""
    return [
        GoldSpec(
            contract=TRENDS,
            sql=sql("threat_trends"),
            sources={spec.name: spec.cleaned for spec in telling(every)},
            reads=("sightings",),
            history={"sightings": HISTORY_DAYS},
            domain="threat",
            owner=OWNER,
        )
    ]
