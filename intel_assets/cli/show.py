"""Answers for people and for machines: tables on a terminal, CSV, JSON, Parquet and Excel."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.table import Table

from intel_assets.errors import UsageError

if TYPE_CHECKING:
    import duckdb

MOST_ROWS = 1_000
_WIDTH = 200
_XLSX_ROWS = 1_048_575
_XLSX_CHARACTERS = 32_767
_XLSX_WHOLE = 10**15


class Format(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"
    XLSX = "xlsx"


def rows(
    columns: Sequence[str],
    values: Sequence[Sequence[Any]],
    title: str | None = None,
    file: TextIO | None = None,
) -> None:
    """Print a table, on standard output if no file is named."""
    numeric = [
        any(v is not None for v in column)
        and all(isinstance(v, int | float | Decimal | None) for v in column)
        for column in zip(*values, strict=True)
    ] or [False] * len(columns)
    stream = file or sys.stdout
    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for name, right in zip(columns, numeric, strict=True):
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in values:
        table.add_row(*(_cell(value) for value in row))
    width = None if stream.isatty() else _WIDTH
    Console(file=stream, highlight=False, width=width).print(table)


def second(moment: datetime | None) -> datetime | None:
    """Return a moment without the fractions of its second, as people read it."""
    return moment.replace(microsecond=0) if moment else None


def counts(by_state: Mapping[str, int]) -> str | None:
    """Return counts as text: `1,902 missing, 3 lost`; None if there are none."""
    return ", ".join(f"{n:,} {state}" for state, n in by_state.items()) or None


def records(columns: Sequence[str], values: Sequence[Sequence[Any]]) -> None:
    """Print rows as a JSON list of objects."""
    document([dict(zip(columns, row, strict=True)) for row in values])


def document(found: object) -> None:
    """Print JSON: an object, or a list of them."""
    sys.stdout.write(json.dumps(found, default=_plain, indent=2, ensure_ascii=False) + "\n")


def answer(found: duckdb.DuckDBPyRelation, form: Format, out: Path | None) -> None:
    """Write the answer to a query.

    Args:
        found: The relation.
        form: How.
        out: Where; standard output if left out.

    Raises:
        UsageError: If the form needs a file and none is named, or the file cannot be written.
    """
    try:
        if out is not None:
            out.open("ab").close()  # Every writer would say in its own way that it cannot.
        _answer(found, form, out)
    except OSError as error:
        if out is None or isinstance(error, BrokenPipeError):
            raise
        why = error.strerror or str(error)
        raise UsageError(f"{out} cannot be written: {why}.", "Name another file.") from error


def _answer(found: duckdb.DuckDBPyRelation, form: Format, out: Path | None) -> None:
    if form in (Format.PARQUET, Format.XLSX):
        if out is None:
            raise UsageError(f"{form} needs a file.", f"Add --out answer.{form}.")
        (_parquet if form is Format.PARQUET else _xlsx)(found, out)
        return
    stream = sys.stdout if out is None else out.open("w", encoding="utf-8", newline="")
    try:
        if form is Format.TABLE:
            values = found.fetchmany(MOST_ROWS + 1)
            rows(found.columns, values[:MOST_ROWS], file=stream)
            if len(values) > MOST_ROWS:
                sys.stderr.write(f"The first {MOST_ROWS} rows; --format csv gives all.\n")
        elif form is Format.CSV:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(found.columns)
            while part := found.fetchmany(MOST_ROWS):
                writer.writerows([_plain_or_same(v) for v in row] for row in part)
        else:
            _json_lines(found, stream)
    finally:
        if out is not None:
            stream.close()


def _json_lines(found: duckdb.DuckDBPyRelation, stream: Any) -> None:
    stream.write("[")
    separator = "\n"
    while part := found.fetchmany(MOST_ROWS):
        for row in part:
            # JSON has no NaN and no infinity.
            plain = (None if isinstance(v, float) and not isfinite(v) else v for v in row)
            record = dict(zip(found.columns, plain, strict=True))
            stream.write(separator + json.dumps(record, default=_plain, ensure_ascii=False))
            separator = ",\n"
    stream.write("\n]\n")


def _parquet(found: duckdb.DuckDBPyRelation, out: Path) -> None:
    import pyarrow.parquet as parquet

    reader = found.fetch_arrow_reader(100_000)
    with parquet.ParquetWriter(out, reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch)


def _xlsx(found: duckdb.DuckDBPyRelation, out: Path) -> None:
    import xlsxwriter

    # Text that begins like a formula stays text: what feeds deliver is not to be run.
    options = {
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "nan_inf_to_errors": True,
    }
    with xlsxwriter.Workbook(out, options) as book:
        sheet = book.add_worksheet("answer")
        sheet.write_row(0, 0, found.columns, book.add_format({"bold": True}))
        number = 0
        while part := found.fetchmany(MOST_ROWS):
            for row in part:
                number += 1
                if number > _XLSX_ROWS:
                    raise UsageError("Excel takes 1,048,575 rows.", "Ask for fewer, or use csv.")
                for place, value in enumerate(row):
                    plain = _excel(value)
                    if isinstance(plain, str):
                        sheet.write_string(number, place, plain)
                    elif plain is not None:
                        sheet.write(number, place, plain)


def _excel(value: object) -> object:
    """Return what Excel can hold whole: its numbers have 15 digits."""
    if isinstance(value, int) and abs(value) >= _XLSX_WHOLE:
        return str(value)
    plain = _plain_or_same(value)
    if isinstance(plain, str) and len(plain) > _XLSX_CHARACTERS:
        raise UsageError(
            f"Excel takes {_XLSX_CHARACTERS:,} characters in a cell.", "Ask for less, or use csv."
        )
    return plain


def _cell(value: object) -> str:
    if value is None:
        return "·"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = _plain(value) if not isinstance(value, str | float | bool) else str(value)
    return "".join(c if c.isprintable() else "�" for c in str(text)).replace("[", "\\[")


def _plain_or_same(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | None) else _plain(value)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | dict | Mapping):
        return json.dumps(value, default=_plain, ensure_ascii=False)
    return str(value)
