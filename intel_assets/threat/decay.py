"""How indicators grow old, where it is to be otherwise than by default (sql/decay.sql).

A rule is a word said at a moment, for a type of indicators; the newest counts, and one without
numbers puts the default back. So an answer as of any moment decays as it did then.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import pandera.polars as pa
import polars as pl

from intel_assets.errors import UsageError
from intel_assets.lakehouse.contracts import Contract, Instant, field
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.tables import Table
from intel_assets.threat.model import INDICATOR_TYPES


class DecayRow(pa.DataFrameModel):
    """How a type of indicators grows old from now on; without numbers, as by default."""

    indicator_type: pl.String = field("The type.", isin=INDICATOR_TYPES)
    tau_days: pl.Float64 | None = field(
        "After how many days without a sighting nothing is left.", gt=0, nullable=True
    )
    delta: pl.Float64 | None = field(
        "How it goes: 1 is a straight line, more is later and faster.", gt=0, nullable=True
    )
    threshold: pl.Float64 | None = field(
        "Below this confidence it is expired, 0 to 100.", ge=0, le=100, nullable=True
    )
    reason: pl.String = field("Why.", cls="internal")
    who: pl.String = field("Who said so.", cls="internal")
    recorded_at: Instant = field("When.")


DECAY_RULES = Contract(
    "ops",
    "decay_rules",
    DecayRow,
    "How types of indicators grow old, where it is otherwise than by default.",
    partition_by=(),
)


@dataclass(frozen=True, kw_only=True)
class DecayRule:
    """What is said of a type: all three numbers, or none for the default."""

    indicator_type: str
    tau_days: float | None
    delta: float | None
    threshold: float | None
    reason: str
    who: str
    recorded_at: datetime


def say(layout: Layout, rule: DecayRule) -> None:
    """Let a type grow old by a rule from now on.

    Raises:
        UsageError: If there is no such type, or a number makes no sense.
    """
    if rule.indicator_type not in INDICATOR_TYPES:
        raise UsageError(
            f"There is no type '{rule.indicator_type}'.", f"There are {', '.join(INDICATOR_TYPES)}."
        )
    for name, value in (("tau", rule.tau_days), ("delta", rule.delta)):
        if value is not None and value <= 0:
            raise UsageError(f"A {name} of {value:g} makes no sense.", "Give one above 0.")
    if rule.threshold is not None and not 0 <= rule.threshold <= 100:
        raise UsageError(f"A threshold of {rule.threshold:g} makes no sense.", "Give 0 to 100.")
    frame = pl.DataFrame([vars(rule)], schema=DECAY_RULES.schema)
    Table(layout, DECAY_RULES).append(frame, {"indicator_type": rule.indicator_type})
