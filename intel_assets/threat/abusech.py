"""What the feeds of abuse.ch share: one key, their time stamps, their commented CSV.

https://abuse.ch/ wants a free key (header `Auth-Key`) since 2025-06-30. Nothing of a single feed
belongs here.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from intel_assets.errors import ParseError
from intel_assets.sources.spec import Interval

KEY = "ABUSECH_AUTH_KEY"
KEYS_AT = "https://auth.abuse.ch/"

_UPDATED = re.compile(r"(?:Last updated|Generated on):? (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)")
_HEAD_BYTES = 4_096
_QUOTED = 120


def moment(name: str) -> pl.Expr:
    """Read a column such as `2026-02-26 12:05:20` or `… UTC` as a moment; else null."""
    text = pl.col(name).str.strip_suffix(" UTC")
    found = text.str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", strict=False)
    # The feeds began in 2011. Other years are slips, and one would stretch a dump over centuries.
    plausible = found.dt.year().is_between(2011, 2099)
    return pl.when(plausible).then(found).dt.replace_time_zone("UTC")


def text(name: str) -> pl.Expr:
    """Read a column of text; nothing, and the word `None`, are null."""
    return pl.col(name).str.strip_chars().replace(["None", ""], None)


def hashes(**columns: str) -> pl.Expr:
    """Return the other hashes of a file as `type:value`; null where there is none.

    Args:
        **columns: For each type of hash, the column that has it.
    """
    found = [
        pl.when(form.is_not_null()).then(pl.lit(f"{kind}:") + form)
        for kind, column in columns.items()
        for form in [text(column).str.to_lowercase()]
    ]
    listed = pl.concat_list(found).list.drop_nulls()
    return pl.when(listed.list.len() > 0).then(listed)


def made(head: str) -> datetime | None:
    """Return when a dump was made, if its head says so."""
    found = _UPDATED.search(head)
    return datetime.fromisoformat(found[1]).replace(tzinfo=UTC) if found else None


def reach(first: datetime, last: datetime, made_at: datetime | None) -> Interval:
    """Return the time that a dump speaks of: behind its oldest record, to when it was made.

    A cache may give an old dump again after a newer one.
    """
    step = timedelta(microseconds=1)
    return first + step, max(last, made_at or last) + step


def head(path: Path) -> str:
    """Return the beginning of a body."""
    with path.open("rb") as body:
        return body.read(_HEAD_BYTES).decode("utf-8", errors="replace").lstrip("\ufeff")


def read_csv(path: Path, names: Mapping[str, str], first: str | tuple[str, ...]) -> pl.LazyFrame:
    """Read a dump whose comments begin with `#`, its header among them.

    There may be a space behind each comma, which no other reader of CSV takes.

    Args:
        path: The dump.
        names: The column for each name of a header that is called otherwise here, lower case.
        first: What the header begins with, lower case, without `#` and quotes.

    Raises:
        ParseError: If there is no header, or a line has another number of fields.
    """
    columns: list[str] = []
    rows: list[Sequence[str]] = []
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        for number, fields in enumerate(csv.reader(lines, skipinitialspace=True), 1):
            line = ",".join(fields)
            bare = line.lstrip('# "').lower()
            if not columns and bare.startswith(first):
                columns = [name.strip('# "').lower() for name in fields]
            elif line.startswith("#") or not line.strip():
                continue
            elif not columns:
                raise ParseError(f"line {number}: the header is missing: {line[:_QUOTED]}")
            elif len(fields) != len(columns):
                raise ParseError(
                    f"line {number} has {len(fields)} fields where {len(columns)} are expected: "
                    f"{line[:_QUOTED]}"
                )
            else:
                rows.append(fields)
    if not columns:
        raise ParseError("line 1: the header is missing: there is nothing of such a dump")
    found = [names.get(name, name) for name in columns]
    return pl.LazyFrame(rows, schema=dict.fromkeys(found, pl.String), orient="row")
