"""What a run of a source came to, day by day: plain values that the orchestration reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from intel_assets.errors import IntelError, PartitionRefused, UpstreamError

State = Literal["complete", "empty", "missing", "not_covered", "rejected", "failed"]
"""complete; empty: asked, and there are no records; missing: not published; not_covered: what came
does not speak of the day; rejected: too many rows break the contract; failed: it did not come."""

GOOD: frozenset[State] = frozenset({"complete", "empty"})


@dataclass(frozen=True)
class LayerResult:
    """A partition of a table as it stands after the run.

    Attributes:
        rows: Rows that hold.
        data_version: A digest of the content: equal content, equal version.
        delta_version: The table's version.
        written: Whether this run changed it.
    """

    layer: str
    name: str
    rows: int
    data_version: str
    delta_version: int
    written: bool
    numbers: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckResult:
    """A check of a day.

    Attributes:
        layer: The table's layer that was checked.
        blocking: Whether a failure makes the partition unfit for use.
        value: What was measured, if it is a number.
        usual: What that is measured against.
        grave: Whether a failure is an error, also where it does not block.
    """

    layer: str
    name: str
    passed: bool
    blocking: bool
    description: str
    numbers: Mapping[str, int] = field(default_factory=dict)
    value: float | None = None
    usual: float | None = None
    grave: bool = False

    @property
    def severity(self) -> Literal["error", "warn"]:
        """How bad a failure is."""
        return "error" if self.blocking or self.grave else "warn"


@dataclass(frozen=True)
class DayResult:
    """A day of a source after the run.

    Attributes:
        message: What went wrong, if anything did.
        requested: Whether the day was asked for; a body may bring news of others.
        layers: The partitions as they stand; those that the run could not reach are absent.
        rejected: Records that hold and stand in quarantine.
        error: The failure, for a day that failed or is missing.
    """

    day: date
    state: State
    message: str | None
    requested: bool
    layers: tuple[LayerResult, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    rejected: int = 0
    error: IntelError | None = None

    @property
    def exit_code(self) -> int:
        """What a command that met this day exits with."""
        if self.error is not None:
            return self.error.exit_code
        return _EXIT_CODES.get(self.state, 0)


_EXIT_CODES = {"rejected": PartitionRefused.exit_code, "not_covered": UpstreamError.exit_code}
