"""The way of a source's data: fetched or landed, folded into raw, cleaned, aggregated, recorded.

One road for all: a body that was fetched, one that was carried over by hand, and one that is
replayed from landing. Days go in batches, so memory is bounded by a batch; each table is committed
once for a batch. A run that dies leaves bodies waiting in the journal, and the next one folds them.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path

import polars as pl
from deltalake import DeltaTable

from intel_assets.errors import DataError, IntelError, NoLongerAvailable, NotPublished
from intel_assets.ingest.documents import Document, Fetch, Window, new_fetch_id
from intel_assets.lakehouse.knowledge import Folded, data_version, fold
from intel_assets.lakehouse.lake import Lake
from intel_assets.lakehouse.ops import Journal
from intel_assets.lakehouse.purges import Purges
from intel_assets.lakehouse.tables import Change, Table, batches
from intel_assets.sources import journal as journals
from intel_assets.sources import snapshots
from intel_assets.sources.bodies import Bodies, ParsedBody
from intel_assets.sources.cleaning import HOLDS, days_of
from intel_assets.sources.derive import Derivation, RawDays
from intel_assets.sources.extract import Extraction, Lookup, Past, Upstream, extract, look_up
from intel_assets.sources.results import DayResult
from intel_assets.sources.spec import UNDATED, SourceSpec

logger = logging.getLogger(__name__)

BATCH_ROWS = 400_000
"""Rows of raw that one batch holds in memory."""


class Pipeline:
    """One source, one run."""

    def __init__(self, lake: Lake, spec: SourceSpec, run_id: str) -> None:
        """Name the lake, the source and the run."""
        self._lake = lake
        self._spec = spec
        self._run_id = run_id
        self._journal = Journal(lake.layout, spec.name)
        self._raw = Table(lake.layout, spec.raw)
        self._derivation = Derivation(lake, spec, run_id)
        self._commit = {
            "run_id": run_id,
            "source": spec.name,
            "code_version": spec.code_version,
        }
        self._counts: dict[tuple[str, date], Folded] = {}
        self._after_a_death = False
        self._new_columns: dict[date, tuple[str, ...]] = {}

    def materialize(self, days: Sequence[date], upstream: Upstream) -> Iterator[DayResult]:
        """Ask the source for days and take what comes through all layers.

        Yields:
            A result for each day asked for, and for each other day that the bodies changed.

        Raises:
            StorageError: If the lake cannot be written. What was yielded stands.
        """
        lake = self._lake
        asked = extract(self._spec, days, upstream, lake.landing, self._past(), lake.clock)
        yield from self._take_in(asked, days)

    def look_up(
        self, indicators: Sequence[tuple[str, str]], upstream: Upstream
    ) -> tuple[Lookup, list[DayResult]]:
        """Ask a source of the kind `lookup` of given indicators, and take in what comes.

        Args:
            indicators: Canonical indicators, each with its type.
            upstream: The way to the source.

        Returns:
            What was asked, and how the days stand that it changed.

        Raises:
            StorageError: If the lake cannot be written.
        """
        lake = self._lake
        found = look_up(self._spec, indicators, upstream, lake.landing, self._past(), lake.clock)
        return found, list(self._take_in(found.extraction, []))

    def land(
        self, files: Mapping[Path, Window | None], fetched_at: datetime
    ) -> Iterator[DayResult]:
        """Take bodies that came some other way down the same road.

        Args:
            files: Each file, with the days it answers if it does not say so itself.
            fetched_at: When the files were received where they came from.
        """
        given = Extraction()
        for path, window in files.items():
            body = self._lake.landing.put_file(path)
            day = fetched_at.date()
            fetch = Fetch(
                fetch_id=new_fetch_id(fetched_at),
                source=self._spec.name,
                window=window or Window(day, day),
                url=path.name,
                outcome="landed",
                status=None,
                attempts=0,
                bytes=body.size,
                body_sha256=body.sha256,
                etag=None,
                last_modified=None,
                content_type=None,
                started_at=fetched_at,
                received_at=fetched_at,
                seconds=0.0,
            )
            given.fetches.append(fetch)
            given.documents.append(Document(fetch, body.path))
        yield from self._take_in(given, [])

    def replay(self, days: Sequence[date]) -> Iterator[DayResult]:
        """Parse, fold and clean days again from landing, without a network.

        Bodies that no parser understood when they came are tried again. Days of which nothing was
        ever received are left alone. Tables that lost files are mended first: with a file missing
        they cannot be read.
        """
        self._derivation.drop_missing()
        if gone := self._raw.drop_missing():
            logger.warning("%s: %d files of raw are gone", self._spec.name, gone)
        with self._bodies() as bodies:
            self._retry_unparsed(bodies, days)
            journal = self._journal.fetches()
            received = [day for day in days if journals.is_answered(journal, day)]
            yield from self._process(bodies, received, {}, anew=True)

    def _past(self) -> Past:
        def held(columns: Sequence[str]) -> pl.DataFrame:
            return self._raw.read_columns(["day", *columns], HOLDS)

        return Past(self._journal.fetches(), held)

    # -- taking in -------------------------------------------------------------------------------

    def _take_in(self, asked: Extraction, days: Sequence[date]) -> Iterator[DayResult]:
        problems = dict(asked.problems)
        now = self._lake.clock()
        rows = {f.fetch_id: journals.row_of(f, self._run_id, now) for f in asked.fetches}
        spoken_of: set[date] = set()
        with self._bodies() as bodies:
            earlier = self._journal.fetches() if _any_unchanged(asked) else None
            for document in asked.documents:
                fetch = document.fetch
                row = rows[fetch.fetch_id]
                if earlier is not None and fetch.outcome == "not_modified":
                    state = self._spec.kind == "state"
                    within = snapshots.interval_of(fetch) if state else None
                    said = journals.coverage(earlier, fetch, within)
                    row |= said
                    # On a new day a state feed's old body is a new snapshot.
                    if said or not state:
                        continue
                try:
                    body = bodies.parse(fetch, document.path)
                except DataError as error:
                    logger.error("%s", error)
                    row |= {"error_class": type(error).__name__, "error": error.what}
                    wanted = days or fetch.window.days
                    problems |= {day: error for day in wanted if day in fetch.window}
                else:
                    row |= journals.reach(body)
                    spoken_of |= self._days_of(body)
                if document.path is not None:
                    document.path.unlink(missing_ok=True)
            self._journal.record_fetches(list(rows.values()), self._run_id)
            asked_for = days or sorted(spoken_of | set(problems))
            yield from self._process(bodies, asked_for, problems, anew=False)

    @contextmanager
    def _bodies(self) -> Iterator[Bodies]:
        root = self._lake.landing.spool
        with tempfile.TemporaryDirectory(prefix=f"{self._spec.name}-", dir=root) as spool:
            limit = self._spec.policy.max_bytes
            yield Bodies(self._spec, self._lake.landing, Path(spool), limit)

    def _retry_unparsed(self, bodies: Bodies, days: Sequence[date]) -> None:
        journal = self._journal.fetches()
        failed = journal.filter(
            pl.col("body_sha256").is_not_null(),
            pl.col("outcome").is_in(["fetched", "landed"]),
            pl.col("parsed").is_null(),
            pl.col("window_first") <= max(days),
            pl.col("window_last") >= min(days),
        )
        rows = []
        for row in failed.iter_rows(named=True):
            fetch = journals.fetch_of(row)
            try:
                body = bodies.parse(fetch)
            except DataError as error:
                logger.warning("still not understood: %s", error)
                continue
            mended = replace(fetch, error_class=None, error=None)
            now = self._lake.clock()
            # From here on it waits like a body that has just come.
            rows.append(journals.row_of(mended, self._run_id, now) | journals.reach(body))
        self._journal.record_fetches(rows, self._run_id)

    # -- days ------------------------------------------------------------------------------------

    def _process(
        self,
        bodies: Bodies,
        asked_for: Sequence[date],
        problems: Mapping[date, IntelError],
        *,
        anew: bool,
    ) -> Iterator[DayResult]:
        journal = self._journal.fetches()
        waiting = journals.waiting(journal)
        # A run that died leaves its bodies waiting, and perhaps raw that nothing follows from.
        self._after_a_death = waiting.filter(pl.col("run_id") != self._run_id).height > 0
        weights, speaks_of = self._reach(bodies, waiting, journal)
        days = sorted({*speaks_of, *(day for day in asked_for if day not in problems)})
        for batch in batches(days, weights, BATCH_ROWS):
            yield from self._batch(bodies, batch, set(asked_for), anew=anew)
        self._record_folded(waiting)
        failed = [
            DayResult(
                day,
                "missing" if isinstance(error, NotPublished) else "failed",
                str(error),
                requested=True,
                error=error,
            )
            for day, error in sorted(problems.items())
        ]
        # Of a day that nobody asked for, nothing new is known.
        asked = [one for one in failed if not isinstance(one.error, NoLongerAvailable)]
        self._derivation.record(asked)
        yield from failed

    def _reach(
        self, bodies: Bodies, waiting: pl.DataFrame, journal: pl.DataFrame
    ) -> tuple[dict[date, int], set[date]]:
        """Return the rows that waiting bodies have for each day, and the days they speak of."""
        weights: dict[date, int] = {}
        days: set[date] = set()
        folded = set(journal.filter(pl.col("folded_at").is_not_null())["body_sha256"])
        for row in waiting.iter_rows(named=True):
            fetch = journals.fetch_of(row)
            if fetch.outcome == "not_modified" and fetch.body_sha256 in folded:
                covered = Window(row["covers_from"].date(), _last_day(row["covers_to"]))
                days |= set(covered.days)
                continue
            try:
                body = bodies.parse(fetch)
            except DataError as error:
                # It was understood once, by other code; `intel replay` tries it again.
                logger.error("%s", error)
                failed = replace(fetch, error_class=type(error).__name__, error=error.what)
                now = self._lake.clock()
                row = journals.row_of(failed, self._run_id, now)
                self._journal.record_fetches([row], self._run_id)
                continue
            for day, rows in body.rows.items():
                weights[day] = weights.get(day, 0) + rows
            days |= self._days_of(body)
        return weights, days

    def _days_of(self, body: ParsedBody) -> set[date]:
        """Return the days that a body may change.

        One that speaks of some records only, such as a page, changes the days of those that raw
        holds of them, and not every day of the time that it covers.
        """
        if body.scope is not None:
            ours = pl.col(str(self._spec.scope)).is_in(body.scope.implode())
            return {*body.rows, *self._held_scopes.filter(ours)["day"]}
        covers = body.covers
        covered = Window(covers[0].date(), _last_day(covers[1])).days if covers else []
        return {*body.rows, *covered}

    @cached_property
    def _held_scopes(self) -> pl.DataFrame:
        return self._raw.read_columns(["day", str(self._spec.scope)], HOLDS).unique()

    def _batch(
        self, bodies: Bodies, batch: Sequence[date], asked_for: set[date], *, anew: bool
    ) -> Iterator[DayResult]:
        frames: dict[date, pl.DataFrame] = {}
        answered: set[date] = set()
        touched: list[date] = []

        def build(table: DeltaTable | None) -> Change | None:
            # The table is opened before the journal is read: whatever is folded into it stands
            # in the journal then.
            journal = self._journal.fetches()
            kept = Purges(self._lake.layout, self._spec.name).kept(journal)
            stored = days_of(
                self._raw.read(batch, at=table) if table else self._raw.contract.empty(), batch
            )
            frames.clear()
            touched.clear()
            for day in batch:
                frame, changed = self._fold_day(bodies, kept, day, stored[day], anew=anew)
                frames[day] = frame
                touched.extend([day] if changed else [])
                if journals.is_answered(journal, day):
                    answered.add(day)
            if not touched:
                return None
            return Change(pl.concat([frames[d] for d in touched], how="diagonal_relaxed"), touched)

        commit = self._raw.replace_partitions(build, self._commit)
        logger.info(
            "%s: %d of %d days changed, raw is at version %d",
            self._spec.name,
            len(touched),
            len(batch),
            commit.version,
        )
        wanted = {day for day in batch if day in touched or day in asked_for}
        if self._after_a_death:
            wanted |= self._derivation.behind({d: frames[d] for d in batch if d not in wanted})
        speaking = [day for day in sorted(wanted) if day in answered or frames[day].height]
        standing = RawDays(
            table=self._raw,
            commit=commit,
            frames={day: self._raw.contract.conform(frames[day]) for day in speaking},
            written=frozenset(touched),
            new_columns=self._new_columns,
        )
        for result in self._derivation.run(standing, anew=anew):
            yield replace(result, requested=result.day in asked_for)
        silent = [
            DayResult(
                day,
                "not_covered",
                f"What {self._spec.name} delivered does not speak of {day}.",
                requested=True,
            )
            for day in sorted(wanted)
            if day not in speaking
        ]
        self._derivation.record(silent)
        yield from silent

    def _fold_day(
        self,
        bodies: Bodies,
        journal: pl.DataFrame,
        day: date,
        stored: pl.DataFrame,
        *,
        anew: bool,
    ) -> tuple[pl.DataFrame, bool]:
        order = journals.sequence(journal, day, anew=anew)
        frame = stored.clear() if order.anew else stored
        changed = False
        for entry in order.entries:
            body = bodies.parse(entry.fetch)
            if day not in body.rows and (day == UNDATED or not self._speaks_of(body, frame)):
                continue
            if body.new_columns:
                self._new_columns[day] = body.new_columns
            time = self._spec.event_time
            judged = (time >= entry.covers_from) & (time < entry.covers_to)
            if body.scope is not None:
                judged &= pl.col(str(self._spec.scope)).is_in(body.scope.implode())
            folded = fold(
                frame,
                bodies.frame(body, day),
                known_at=entry.fetch.received_at,
                judged=judged & (pl.col("day") != UNDATED),
            )
            self._counts[entry.fetch.fetch_id, day] = replace(folded, frame=stored.clear())
            frame = folded.frame
            changed = changed or folded.touched
        if order.anew:
            changed = data_version(frame) != data_version(stored) or not _origins(frame).equals(
                _origins(stored)
            )
        return frame, changed

    def _speaks_of(self, body: ParsedBody, frame: pl.DataFrame) -> bool:
        """Whether a body without records of a day says something of those that are held."""
        if body.scope is None:
            return True
        held = frame[str(self._spec.scope)] if frame.height else pl.Series([], dtype=pl.String)
        return bool(held.is_in(body.scope.implode()).any())

    def _record_folded(self, waiting: pl.DataFrame) -> None:
        """Write the counts of the bodies that waited: they are folded now."""
        rows = []
        now = self._lake.clock()
        for row in waiting.iter_rows(named=True):
            counts = [f for (key, _), f in self._counts.items() if key == row["fetch_id"]]
            done = row | {"folded_at": now, "recorded_at": now, "run_id": self._run_id}
            if counts:
                new, changed = sum(f.new for f in counts), sum(f.changed for f in counts)
                duplicates = sum(f.duplicates for f in counts)
                done |= {"added": new, "changed": changed, "duplicates": duplicates}
                unchanged = sum(f.unchanged for f in counts)
                if row["parsed"] is not None:  # after a 304 it is: nobody counted the records
                    unchanged = row["parsed"] - new - changed - duplicates
                done |= {"unchanged": unchanged}
                done |= {"withdrawn": sum(f.withdrawn for f in counts)}
            rows.append(done)
        self._journal.record_fetches(rows, self._run_id)


def _any_unchanged(asked: Extraction) -> bool:
    return any(fetch.outcome == "not_modified" for fetch in asked.fetches)


def _origins(frame: pl.DataFrame) -> pl.DataFrame:
    """Return which body each version came in, in an order of its own."""
    keys = ["record_id", "record_digest", "known_from", "body_sha256"]
    return frame.select(keys).sort(keys)


def _last_day(covers_to: datetime) -> date:
    return (covers_to - timedelta(microseconds=1)).date()
