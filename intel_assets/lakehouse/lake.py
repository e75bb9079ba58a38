"""A lake as the engine holds it: where its tables are, its landing, and its clock."""

from __future__ import annotations

from dataclasses import dataclass

from intel_assets.clock import Clock
from intel_assets.lakehouse.landing import Landing
from intel_assets.lakehouse.layout import Layout


@dataclass(frozen=True)
class Lake:
    """A lake, or a tenant's part of one."""

    layout: Layout
    landing: Landing
    clock: Clock
