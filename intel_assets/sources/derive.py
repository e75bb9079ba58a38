"""What follows from raw: cleaned, quarantine and aggregated partitions, checked and recorded.

Each of them is a pure function of the raw that stands when it is written: a derived table is
opened first and raw is read after it, so a slower run can never write what a faster one made old.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import polars as pl
from deltalake import DeltaTable

from intel_assets.lakehouse.knowledge import content_digest, data_version
from intel_assets.lakehouse.lake import Lake
from intel_assets.lakehouse.ops import Journal, PartitionState
from intel_assets.lakehouse.tables import Change, Commit, Table
from intel_assets.sources import checking
from intel_assets.sources.checking import DayChecks
from intel_assets.sources.cleaning import (
    HOLDS,
    Cleaned,
    aggregate,
    clean,
    days_of,
    quarantine_contract,
)
from intel_assets.sources.results import CheckResult, DayResult, LayerResult, State
from intel_assets.sources.spec import UNDATED, Aggregate, SourceSpec

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RawDays:
    """Days of raw as a run left them.

    Attributes:
        frames: Each day's versions.
        written: The days that the run changed.
        new_columns: For each day, columns that the contract does not know.
    """

    table: Table
    commit: Commit
    frames: Mapping[date, pl.DataFrame]
    written: frozenset[date]
    new_columns: Mapping[date, tuple[str, ...]]

    def standing(self, days: Sequence[date]) -> tuple[int, pl.DataFrame]:
        """Return the table's version and some days in it, read anew if others wrote."""
        table = self.table.open()
        if table is not None and table.version() != self.commit.version:
            return table.version(), self.table.read(days, at=table)
        return self.commit.version, pl.concat([self.frames[day] for day in days], how="diagonal")


@dataclass
class _Written:
    """What was derived: for each table its commit, and the days that were refused."""

    stale: frozenset[date] = frozenset()
    refused: Mapping[date, str] = field(default_factory=dict)
    rejected: Mapping[date, int] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)


class Derivation:
    """Derives, checks and records the partitions of one source in one run."""

    def __init__(self, lake: Lake, spec: SourceSpec, run_id: str) -> None:
        """Name the lake, the source and the run."""
        self._spec = spec
        self._run_id = run_id
        self._clock = lake.clock
        self._journal = Journal(lake.layout, spec.name)
        self._checks = DayChecks(self._journal, spec, run_id, lake.clock)
        self._cleaned = Table(lake.layout, spec.cleaned)
        self._quarantine = Table(lake.layout, quarantine_contract(spec))
        self._aggregates = {
            a.contract.name: (a, Table(lake.layout, a.contract)) for a in spec.aggregates
        }
        self._commit = {
            "run_id": run_id,
            "source": spec.name,
            "code_version": spec.code_version,
        }

    def run(self, raw: RawDays, *, anew: bool) -> Iterator[DayResult]:
        """Derive what is out of date, record it, and say how each day stands.

        Args:
            raw: The days.
            anew: Whether to derive even what is up to date.
        """
        if not raw.frames:
            return
        days = sorted(raw.frames)
        versions = {day: data_version(raw.frames[day]) for day in days}
        recorded = self._journal.partitions(days)
        known = {
            row["day"]: (row["digest"], row["code_version"])
            for row in recorded.filter(pl.col("layer") == "cleaned").iter_rows(named=True)
        }
        stale = [
            day
            for day in days
            if anew or known.get(day) != (self._version(versions[day]), self._spec.code_version)
        ]
        written = self._write(raw, stale) if stale else _Written(commits=self._unchanged())
        cleaned = days_of(self._cleaned.read(days), days)
        aggregated = {
            name: days_of(table.read(days), days) for name, (_, table) in self._aggregates.items()
        }
        broken = self._broken([*cleaned.values()])
        checked = self._checks.of_raw({day: raw.frames[day].filter(HOLDS).height for day in days})
        results = [
            self._result(
                day,
                raw,
                versions[day],
                written,
                cleaned[day],
                broken.get(day, 0),
                {name: parts[day] for name, parts in aggregated.items()},
                checked.get(day, ()),
            )
            for day in days
        ]
        self.record(results, recorded)
        yield from results

    def drop_missing(self) -> None:
        """Mend derived tables that lost files."""
        for table in (self._cleaned, self._quarantine, *(t for _, t in self._aggregates.values())):
            if gone := table.drop_missing():
                logger.warning("%s: %d files are gone", table.uri, gone)

    def behind(self, frames: Mapping[date, pl.DataFrame]) -> set[date]:
        """Return the days whose raw is not the one that was last recorded."""
        recorded = self._journal.partitions(sorted(frames)).filter(pl.col("layer") == "raw")
        known = dict(recorded.select("day", "digest").iter_rows())
        return {
            day
            for day, frame in frames.items()
            if (frame.height or day in known) and known.get(day) != data_version(frame)
        }

    def record(self, results: Sequence[DayResult], recorded: pl.DataFrame | None = None) -> None:
        """Write what partitions came to, where that changed."""
        before = {
            (row["layer"], row["name"], row["day"]): (
                row["state"],
                row["digest"],
                row["code_version"],
            )
            for row in (recorded.iter_rows(named=True) if recorded is not None else ())
        }
        states = [
            state
            for result in results
            for state in _states(result, self._spec.name)
            if before.get((state.layer, state.name, state.day))
            != (state.state, state.digest, self._spec.code_version)
        ]
        self._journal.record_partitions(
            states,
            code_version=self._spec.code_version,
            run_id=self._run_id,
            at=self._clock(),
        )
        self._checks.record(results)

    def _unchanged(self) -> dict[str, Commit]:
        """Return, for each derived table, the version it stands in."""
        tables = {"cleaned": self._cleaned}
        tables |= {name: table for name, (_, table) in self._aggregates.items()}
        opened = {name: table.open() for name, table in tables.items()}
        return {
            name: Commit(table.version() if table else -1, written=False)
            for name, table in opened.items()
        }

    # -- writing ---------------------------------------------------------------------------------

    def _write(self, raw: RawDays, stale: Sequence[date]) -> _Written:
        made: dict[int, Cleaned] = {}

        def current() -> Cleaned:
            version, frame = raw.standing(stale)
            if version not in made:
                made.clear()
                made[version] = clean(self._spec, frame, self._run_id)
            return made[version]

        def quarantine(table: DeltaTable | None) -> Change | None:
            rows = current().quarantine
            stored = self._quarantine.read(stale, at=table) if table else rows.clear()
            if _same(rows, stored):
                return None
            days = sorted({*rows["day"], *stored["day"]})
            return Change(rows, days)

        def cleaned(_: DeltaTable | None) -> Change:
            now = current()
            days = [day for day in stale if day not in now.refused]
            return Change(now.accepted.filter(pl.col("day").is_in(days)), days)

        commits = {
            "quarantine": self._quarantine.replace_partitions(quarantine, self._commit),
            "cleaned": self._cleaned.replace_partitions(cleaned, self._commit),
        }
        refused, rejected = current().refused, current().rejected
        good = [day for day in stale if day not in refused and day != UNDATED]
        accepted = current().accepted
        for name, (spec, table) in self._aggregates.items():

            def aggregated(_: DeltaTable | None, spec: Aggregate = spec) -> Change | None:
                held = self._cleaned.open()
                fresh = held is not None and held.version() == commits["cleaned"].version
                frame = accepted if fresh else self._cleaned.read(good, at=held)
                frame = frame.filter(pl.col("day").is_in(good))
                return Change(aggregate(spec, self._spec.cleaned, frame), good)

            commits[name] = table.replace_partitions(aggregated, self._commit)
        return _Written(frozenset(stale), refused, rejected, commits)

    # -- telling ---------------------------------------------------------------------------------

    def _result(
        self,
        day: date,
        raw: RawDays,
        version: str,
        written: _Written,
        cleaned: pl.DataFrame,
        broken: int,
        aggregated: Mapping[str, pl.DataFrame],
        checked: Sequence[CheckResult],
    ) -> DayResult:
        name = self._spec.name
        rows = raw.frames[day].filter(HOLDS).height
        held = cleaned.filter(HOLDS).height
        reason = written.refused.get(day)
        rejected = written.rejected.get(day, 0) if day in written.stale else rows - held
        layers = [LayerResult("raw", name, rows, version, raw.commit.version, day in raw.written)]
        checks = [checking.drift(raw.new_columns.get(day, ())), *checked]
        if reason is not None:
            checks.append(checking.contract(passed=False, reason=reason, rejected=rejected))
            return DayResult(day, "rejected", reason, True, tuple(layers), tuple(checks), rejected)
        commit = written.commits["cleaned"]
        fresh = day in written.stale
        layers.append(
            LayerResult("cleaned", name, held, self._version(version), commit.version, fresh)
        )
        reason = (
            f"{broken} stored rows break the contract." if broken else "All stored rows keep it."
        )
        checks.append(checking.contract(passed=not broken, reason=reason, rejected=rejected))
        checks.append(checking.unique(cleaned))
        for table, part in aggregated.items():
            commit = written.commits[table]
            layers.append(
                LayerResult(
                    "aggregated", table, part.height, content_digest(part), commit.version, fresh
                )
            )
        state: State = "complete" if rows else "empty"
        return DayResult(day, state, None, True, tuple(layers), tuple(checks), rejected)

    def _broken(self, stored: Sequence[pl.DataFrame]) -> dict[date, int]:
        """Count the stored rows of each day that break the contract."""
        rejected = self._spec.cleaned.split(pl.concat(stored)).rejected
        return dict(rejected.group_by("day").len().iter_rows())

    def _version(self, raw_version: str) -> str:
        return cleaned_version(raw_version, self._spec.name, self._spec.code_version)


def cleaned_version(raw_version: str, source: str, code_version: str) -> str:
    """Return the version of what some code makes of some raw: it is a pure function of both."""
    text = f"{raw_version} {source} {code_version}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _states(result: DayResult, source: str) -> Iterator[PartitionState]:
    if not result.layers:
        yield PartitionState("raw", source, result.day, result.state, message=result.message)
    for layer in result.layers:
        yield PartitionState(
            layer=layer.layer,
            name=layer.name,
            day=result.day,
            state="complete" if layer.rows else "empty",
            rows=layer.rows,
            rejected=result.rejected if layer.layer == "cleaned" else None,
            digest=layer.data_version,
            delta_version=layer.delta_version if layer.written else None,
        )
    if result.state == "rejected":
        yield PartitionState(
            "cleaned",
            source,
            result.day,
            result.state,
            rejected=result.rejected,
            message=result.message,
        )


def _same(rows: pl.DataFrame, stored: pl.DataFrame) -> bool:
    """Whether two quarantines hold the same, whichever runs wrote them."""
    if rows.height != stored.height:
        return False
    names = [name for name in rows.columns if name != "run_id"]
    return rows.select(names).sort(names).equals(stored.select(names).sort(names))
