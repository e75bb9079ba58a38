"""The checks of a day: what is looked at in every partition, and the record of how it came out.

What a check needs to know of other days is read once a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

import polars as pl

from intel_assets.clock import Clock, start_of
from intel_assets.lakehouse.ops import CheckOutcome, Journal
from intel_assets.sources import volume
from intel_assets.sources.cleaning import HOLDS
from intel_assets.sources.results import CheckResult, DayResult
from intel_assets.sources.spec import UNDATED, SourceSpec

_HOUR = timedelta(hours=1)


class DayChecks:
    """The checks of one source in one run."""

    def __init__(self, journal: Journal, spec: SourceSpec, run_id: str, clock: Clock) -> None:
        """Name the source and the run."""
        self._journal = journal
        self._spec = spec
        self._run_id = run_id
        self._clock = clock
        self._since: date | None = None
        self._rows: dict[date, int] = {}
        self._most: dict[date, int] = {}
        self._bodies: pl.DataFrame | None = None

    def of_raw(self, rows: Mapping[date, int]) -> dict[date, tuple[CheckResult, ...]]:
        """Say of some days whether they have as many rows as usual, and how old their body is.

        Args:
            rows: For each day the rows that hold.
        """
        dated = {day: count for day, count in rows.items() if day != UNDATED}
        if not dated:
            return {}
        self._know(min(dated))
        self._rows |= dated
        return {day: self._of_raw(day, count) for day, count in dated.items()}

    def record(self, results: Sequence[DayResult]) -> None:
        """Write how the checks came out, where that changed.

        While a day lasts, an event feed's numbers change with every request: then only a check
        that changed sides counts.
        """
        judged = [result for result in results if result.checks and result.day != UNDATED]
        before = {
            (row["day"], row["layer"], row["name"]): (
                row["passed"],
                row["severity"],
                row["description"],
            )
            for row in self._journal.checks([one.day for one in judged]).iter_rows(named=True)
        }
        changed = []
        for result in judged:
            for check in result.checks:
                known = before.get((result.day, check.layer, check.name))
                now = (check.passed, check.severity, check.description)
                settled = self._is_whole(result.day) or not check.passed
                if known is None or (known != now if settled else known[:2] != now[:2]):
                    changed.append(_outcome(result.day, check))
        self._journal.record_checks(changed, run_id=self._run_id, at=self._clock())

    def _of_raw(self, day: date, count: int) -> tuple[CheckResult, ...]:
        found = [self._volume(day, count)]
        if self._spec.kind == "state" and self._spec.stale_after is not None:
            found.append(_staleness(self._snapshots(), day, self._spec.stale_after))
        return tuple(found)

    def _volume(self, day: date, count: int) -> CheckResult:
        most = self._most.get(day, 0)
        against = volume.usual(self._spec.kind, day, self._rows, most if most > count else None)
        found = volume.judge(self._spec.volume, count, against, whole=self._is_whole(day))
        return CheckResult(
            "raw", "volume", found.passed, False, found.description, {}, count, found.usual
        )

    def _is_whole(self, day: date) -> bool:
        # A snapshot is whole whenever it is taken; a day's records come while it lasts.
        return self._spec.kind == "state" or day < self._clock().date()

    def _know(self, first: date) -> None:
        """Read how many rows the days before had, unless that is known."""
        since = first - timedelta(days=volume.HISTORY_DAYS)
        if self._since is not None and since >= self._since:
            return
        self._since = since
        found = self._journal.volumes(since, self._spec.code_version)
        self._rows = dict(found.select("day", "rows").iter_rows()) | self._rows
        self._most = dict(found.select("day", "most").drop_nulls().iter_rows())

    def _snapshots(self) -> pl.DataFrame:
        """Return when each body was seen, oldest first: `seen`, `covers_from`, `body_sha256`."""
        if self._bodies is None:
            came = pl.col("received_at")
            self._bodies = (
                self._journal.fetches()
                .filter(
                    pl.col("outcome").is_in(["fetched", "landed", "not_modified"]),
                    pl.col("covers_from").is_not_null(),
                )
                # A snapshot that was carried over later was seen on its day all the same.
                .select(
                    "covers_from",
                    "body_sha256",
                    seen=came.clip(pl.col("covers_from"), pl.col("covers_to")),
                )
                .sort("seen", maintain_order=True)
            )
        return self._bodies


def drift(new: Sequence[str]) -> CheckResult:
    """Say whether the source brings columns that its contract does not know."""
    text = f"New in the source: {', '.join(new)}." if new else "No column is new."
    return CheckResult("raw", "schema_drift", not new, False, text, {"new_columns": len(new)})


def contract(*, passed: bool, reason: str, rejected: int) -> CheckResult:
    """Say whether what is stored keeps its contract."""
    return CheckResult("cleaned", "contract", passed, True, reason, {"rejected_rows": rejected})


def unique(cleaned: pl.DataFrame) -> CheckResult:
    """Say whether each record of a day stands in its cleaned rows once, among those that hold."""
    held = cleaned.filter(HOLDS)["record_id"]
    twice = held.filter(held.is_duplicated()).n_unique()
    text = f"{twice} records hold more than once." if twice else "Every record holds once."
    return CheckResult(
        "cleaned", "unique", not twice, False, text, {"records_twice": twice}, grave=True
    )


def _staleness(snapshots: pl.DataFrame, day: date, allowed: timedelta) -> CheckResult:
    until, since = _same_since(snapshots, day)
    same = (until - since) if until and since else timedelta()
    passed = same <= allowed
    text = f"The body is the same since {since:%Y-%m-%d %H:%M} UTC." if since else "No body yet."
    if not passed:
        text += f" It should change within {allowed / _HOUR:g} hours."
    return CheckResult("raw", "staleness", passed, False, text, {}, same / _HOUR, allowed / _HOUR)


def _same_since(snapshots: pl.DataFrame, day: date) -> tuple[datetime | None, datetime | None]:
    """Return when a day's last body was seen last on that day, and since when it is the same."""
    seen = snapshots.filter(pl.col("covers_from") <= start_of(day))
    if seen.is_empty():
        return None, None
    last = seen.row(-1, named=True)
    other = pl.col("body_sha256") != last["body_sha256"]
    # The bodies behind the last other one: at least the last itself.
    same = seen.filter(other.cum_sum(reverse=True) == 0)
    return last["seen"], same["seen"][0]


def _outcome(day: date, check: CheckResult) -> CheckOutcome:
    return CheckOutcome(
        day=day,
        layer=check.layer,
        name=check.name,
        passed=check.passed,
        severity=check.severity,
        description=check.description,
        value=check.value,
        usual=check.usual,
    )
