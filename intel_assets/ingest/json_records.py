"""JSON bodies as records: a list, a list inside an object, or a record a line.

What a record means is for the parser of its source. Bodies are held in memory while they are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from intel_assets.errors import ParseError

_QUOTED = 120


def load(path: Path) -> Any:
    """Read a body: what it holds, or a list of its lines if each is a document of its own.

    Raises:
        ParseError: With the first bad line, if it is cut off or no JSON. Nothing is no JSON: who
            has no records says so with an empty list.
    """
    text = path.read_text("utf-8-sig", errors="replace")
    if not text.strip():
        raise ParseError("line 1: the body is empty")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        return _lines(text, error)
    except RecursionError:
        raise ParseError(f"line 1: nested too deeply: {text[:_QUOTED]}") from None


def listed(path: Path, key: str | None = None) -> list[Mapping[str, Any]]:
    """Read the records of a body.

    Args:
        path: The body.
        key: Under which name an object holds them; an object without it is one record.

    Raises:
        ParseError: If it is no JSON, or no list of objects.
    """
    whole = load(path)
    found = whole.get(key, whole) if key and isinstance(whole, Mapping) else whole
    records = found if isinstance(found, list) else [found]
    if not all(isinstance(record, Mapping) for record in records):
        start = path.read_text("utf-8-sig", errors="replace")[:_QUOTED]
        raise ParseError(f"line 1: this is no list of records: {start}")
    return records


def as_text(value: object) -> str | None:
    """Return a value as text; what is nested, and numbers, keep their JSON."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def frame(records: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> pl.LazyFrame:
    """Return records as text columns.

    Args:
        records: The records.
        columns: The columns that stand also where there is no record.
    """
    rows = [{name: as_text(value) for name, value in record.items()} for record in records]
    found = dict.fromkeys(name for row in rows for name in row)
    return pl.LazyFrame(rows, schema=dict.fromkeys(found or columns, pl.String))


def texts(column: str) -> pl.Expr:
    """Read a column of lists, each as JSON or joined by commas; `None` and nothing are null."""
    text = pl.col(column).replace(["None", "", "[]", "null"], None)
    plain = text.str.strip_chars("[]").str.replace_all(r'"\s*,\s*"', ",").str.strip_chars('"')
    return plain.str.split(",").list.eval(pl.element().str.strip_chars())


def _lines(text: str, whole: json.JSONDecodeError) -> list[Any]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            found += [json.loads(line)] if line.strip() else []
        except (json.JSONDecodeError, RecursionError) as error:
            first = number == 1
            at = whole.lineno if first else number
            why = whole.msg if first else getattr(error, "msg", "nested too deeply")
            raise ParseError(f"line {at}: {why}: {line[:_QUOTED]}") from None
    return found
