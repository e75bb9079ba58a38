"""Bodies as records: parsed once, divided by day on disk, read day by day.

The spool keeps memory at one day's records however large the body is. It is a scratch folder:
what it holds can always be made again from landing.
"""

from __future__ import annotations

import csv
import shutil
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl

from intel_assets.clock import start_of
from intel_assets.errors import ContractBroken, DataError, ParseError
from intel_assets.ingest.decode import unpack
from intel_assets.ingest.documents import Document, Fetch
from intel_assets.lakehouse.contracts import ENGINE_COLUMNS, INSTANT
from intel_assets.lakehouse.knowledge import digests
from intel_assets.lakehouse.landing import Landing
from intel_assets.lakehouse.storage import storage_errors
from intel_assets.sources.spec import UNDATED, Interval, SourceSpec, Span

_QUOTED = 120
SPOOL_BYTES = 8 * 2**30
"""How much of the spool is kept for reading again; beyond it, bodies are parsed anew."""


@dataclass(frozen=True)
class ParsedBody:
    """A body divided by day.

    Attributes:
        rows: Records of each day.
        covers: What of the time the body speaks of; None if of nothing.
        new_columns: Columns that the contract does not know.
        scope: The values of the source's `scope` that it holds; None if it speaks of all records.
    """

    fetch: Fetch
    folder: Path
    rows: Mapping[date, int]
    covers: Interval | None
    new_columns: tuple[str, ...]
    scope: pl.Series | None = None

    @property
    def parsed(self) -> int:
        """Records in the body."""
        return sum(self.rows.values())


class Bodies:
    """The bodies of one source, parsed on demand."""

    def __init__(self, spec: SourceSpec, landing: Landing, spool: Path, max_bytes: int) -> None:
        """Name the source and the scratch folder."""
        self._spec = spec
        self._landing = landing
        self._spool = spool
        self._max_bytes = max_bytes
        self._parsed: OrderedDict[str, ParsedBody] = OrderedDict()

    def parse(self, fetch: Fetch, path: Path | None = None) -> ParsedBody:
        """Parse the body of a fetch, from a local file or from landing.

        Raises:
            DataError: If the body is not what the parser understands; it names the source, the
                window, the digest and the first bad line.
            StorageError: If landing does not have it any more.
        """
        if fetch.fetch_id in self._parsed:
            self._parsed.move_to_end(fetch.fetch_id)
            return self._parsed[fetch.fetch_id]
        if fetch.body_sha256 is None:
            raise ValueError(f"fetch {fetch.fetch_id} has no body")
        with ExitStack() as stack:
            plain = path or stack.enter_context(self._landing.open(fetch.body_sha256))
            folder = self._spool / fetch.fetch_id
            folder.mkdir(parents=True, exist_ok=True)
            try:
                body = self._divide(fetch, plain, folder)
            except (DataError, pl.exceptions.PolarsError, UnicodeError, ValueError) as error:
                shutil.rmtree(folder, ignore_errors=True)
                what = error.what if isinstance(error, DataError) else str(error).split("\n")[0]
                kind = type(error) if isinstance(error, DataError) else ParseError
                # It quotes what came; nothing of that may steer a terminal.
                what = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in what)
                raise kind(
                    f"{self._spec.name} {fetch.window}, body {fetch.body_sha256[:16]}…: {what}",
                    "The body is kept in landing; mend the parser and run `intel replay`.",
                ) from error
        self._parsed[fetch.fetch_id] = body
        self._trim()
        return body

    def frame(self, body: ParsedBody, day: date) -> pl.DataFrame:
        """Return a body's records of one day, with their identifiers and digests."""
        if body.fetch.fetch_id not in self._parsed:
            body = self.parse(body.fetch)
        files = sorted((body.folder / "days" / f"day={day}").glob("*"))
        if not files:
            return pl.DataFrame(schema=_STAMP)
        text = pl.concat([pl.read_ipc(file) for file in files]).drop("_time")
        digest = digests(text)
        own = self._spec.record_id
        identifier = digest.alias("record_id")
        if own is not None:
            identifier = text.select(own.cast(pl.String).replace("", None)).to_series()
            identifier = identifier.fill_null(digest).alias("record_id")
        stamp = [pl.lit(day).alias("day"), pl.lit(body.fetch.body_sha256).alias("body_sha256")]
        return text.with_columns(identifier, digest, *stamp)

    def forget(self) -> None:
        """Drop everything that was parsed."""
        self._parsed.clear()
        shutil.rmtree(self._spool, ignore_errors=True)

    def _divide(self, fetch: Fetch, path: Path, folder: Path) -> ParsedBody:
        spec = self._spec
        path = unpack(path, folder, max_bytes=self._max_bytes)
        document = Document(fetch, path)
        expected = len(set(spec.raw.schema) - ENGINE_COLUMNS)
        with _bad_line(path, expected):
            lazy = spec.parse(document)
            columns = lazy.collect_schema().names()
        text = [name for name in columns if name != "day"]
        spec.raw.require(columns)
        _refuse_reserved(lazy.collect_schema())
        time = _start_of_day() if "day" in columns else self._event_time(fetch)
        held = set(spec.raw.schema) & set(text)
        whole = [name for name in sorted(held) if not spec.raw.nullable(name)]
        # Columns that older generations lack stand as nulls: no digest changes by them.
        optional = set(spec.raw.schema) - set(columns) - ENGINE_COLUMNS
        lazy = lazy.with_columns(pl.lit(None, pl.String).alias(name) for name in sorted(optional))
        dated = lazy.with_columns(time).with_columns(
            day=pl.col("_time").dt.date().fill_null(UNDATED)
        )
        days = folder / "days"
        with _bad_line(path, len(text)), storage_errors(str(days)):
            dated.select(*text, *sorted(optional), "_time", "day").sink_ipc(
                pl.PartitionBy(days, key="day", include_key=False), mkdir=True
            )
        rows, span, gaps = _measure(days, whole)
        if gaps:
            found = _first_bad_line(path, len(text), [text.index(name) for name in whole])
            raise ParseError(found or f"{gaps} fields are missing that every record has")
        covers = spec.covers(document, span)
        new = tuple(sorted(set(text) - set(spec.raw.schema)))
        scope = _scope(days, spec.scope) if spec.scope else None
        return ParsedBody(fetch, folder, rows, covers, new, scope)

    def _event_time(self, fetch: Fetch) -> pl.Expr:
        """Return when a record happened; null if the source cannot have known it yet.

        One slip of the pen in a year would otherwise stretch a body over decades of days.
        """
        first = start_of(self._spec.start)
        last = fetch.received_at + timedelta(days=1)
        time = self._spec.event_time
        return pl.when(time.is_between(first, last)).then(time).alias("_time")

    def _trim(self) -> None:
        while len(self._parsed) > 1 and _size(self._spool) > SPOOL_BYTES:
            _, oldest = self._parsed.popitem(last=False)
            shutil.rmtree(oldest.folder, ignore_errors=True)


_STAMP = {
    "day": pl.Date(),
    "record_id": pl.String(),
    "record_digest": pl.String(),
    "body_sha256": pl.String(),
}


def _refuse_reserved(schema: pl.Schema) -> None:
    """Refuse columns that would stand in the way of the engine's own."""
    taken = sorted(set(schema) & (ENGINE_COLUMNS - {"day"} | {"_time"}))
    taken += ["day"] if schema.get("day", pl.Date()) != pl.Date() else []
    if taken:
        raise ContractBroken(
            f"the source brings {', '.join(taken)}, which the engine keeps for itself",
            "Give it another name in the parser.",
        )


def _start_of_day() -> pl.Expr:
    return pl.col("day").cast(INSTANT).alias("_time")


def _measure(days: Path, whole: list[str]) -> tuple[dict[date, int], Span, int]:
    """Count the records of each day, find their span, and count gaps in columns that have none."""
    rows: dict[date, int] = {}
    firsts: list[datetime] = []
    lasts: list[datetime] = []
    gaps = 0
    for folder in sorted(days.glob("day=*")):
        found = pl.scan_ipc(sorted(folder.glob("*"))).select(
            rows=pl.len(),
            first=pl.col("_time").min(),
            last=pl.col("_time").max(),
            gaps=pl.sum_horizontal(pl.lit(0), *(pl.col(name).null_count() for name in whole)),
        )
        one = found.collect().row(0, named=True)
        rows[date.fromisoformat(folder.name.removeprefix("day="))] = one["rows"]
        gaps += one["gaps"]
        firsts += [one["first"]] if one["first"] else []
        lasts += [one["last"]] if one["last"] else []
    span = Span(sum(rows.values()), min(firsts, default=None), max(lasts, default=None))
    return rows, span, gaps


def _scope(days: Path, column: str) -> pl.Series:
    """Return the values that a column has anywhere in a body."""
    files = sorted(days.glob("day=*/*"))
    if not files:
        return pl.Series(column, [], pl.String)
    return pl.scan_ipc(files).select(column).unique().collect().to_series()


@contextmanager
def _bad_line(path: Path, expected: int) -> Iterator[None]:
    """Name the first bad line where Polars only says that there is one."""
    try:
        yield
    except pl.exceptions.PolarsError as error:
        found = _first_bad_line(path, expected)
        raise ParseError(found or str(error).split("\n")[0]) from error


def _first_bad_line(path: Path, expected: int, needed: Sequence[int] = ()) -> str | None:
    """Say where a text of separated values first lacks fields, if it does.

    Args:
        path: The text.
        expected: How many fields a line has.
        needed: The places of those that are never empty.
    """
    with path.open(encoding="utf-8", errors="replace", newline="") as lines:
        reader = csv.reader(lines, strict=True)
        line = 1
        try:
            for fields in reader:
                if not fields or fields[0].startswith("#"):
                    pass
                elif len(fields) != expected:
                    return (
                        f"line {line} has {len(fields)} fields where {expected} "
                        f"are expected: {','.join(fields)[:_QUOTED]}"
                    )
                elif any(not fields[place] for place in needed):
                    return f"line {line} lacks a field: {','.join(fields)[:_QUOTED]}"
                line = reader.line_num + 1
        except csv.Error as error:
            return f"line {line}: {error}"
    return None


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
