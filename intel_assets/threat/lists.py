"""The user's own lists: what is allowed whoever says otherwise.

An entry is never changed: a later row of the same value replaces it, so that what held at a moment
can be asked. What an allowed value does to an indicator is in sql/indicators.sql.
"""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

from intel_assets.lakehouse.contracts import Contract, Instant, field


class AllowedRow(pa.DataFrameModel):
    """A value that is not to be acted on, or that is no longer allowed."""

    value: pl.String = field(
        "An indicator in canonical form; a range covers its addresses and ranges, a name the names "
        "below it and the URLs on them."
    )
    first_address: pl.String = field(
        "Of an address or a range, the first address (canonical.bounds).", nullable=True
    )
    last_address: pl.String = field("Of an address or a range, the last address.", nullable=True)
    owner: pl.String = field("Who answers for it.", cls="internal")
    reason: pl.String = field("Why.", cls="internal")
    expires_at: Instant = field("Until when it holds; null for ever.", nullable=True)
    removed: pl.Boolean = field("Whether this row takes the value off the list.")
    recorded_at: Instant = field("When this row was written.")


ALLOWLIST = Contract(
    "ops", "allowlist", AllowedRow, "What is not to be acted on, by whom and why.", partition_by=()
)
