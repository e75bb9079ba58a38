"""The world that the backfill asks: `python -m benchmarks.backfill_world FOLDER DAYS`.

Writes a small TweetFeed file for every day into FOLDER and serves it as the simulator serves
recordings, until it is terminated. Its first line of output is its address.
"""

from __future__ import annotations

import sys
from datetime import date, timedelta
from functools import partial
from pathlib import Path

from intel_assets.simulator.server import Simulator, run_forever

FIRST = date(2025, 1, 1)
LINES = 40


def days_from(first: date, count: int) -> list[date]:
    """Return days in a row."""
    return [first + timedelta(days=number) for number in range(count)]


def write(folder: Path, count: int) -> None:
    """Write the files of the days."""
    for day in days_from(FIRST, count):
        lines = (_line(day, number) for number in range(LINES))
        (folder / f"{day:%Y%m%d}.csv").write_text("".join(lines), encoding="utf-8")


def _line(day: date, number: int) -> str:
    user = f"user_{number % 7}"
    kind, value = (
        ("url", f"https://amber-brook{number}.example/{day:%Y%m%d}/{number}"),
        ("domain", f"cedar-{day:%m%d}-{number}.test"),
        ("ip", f"198.18.{day.day}.{number + 1}"),
        ("md5", f"{day:%Y%m%d}{number:024x}"),
    )[number % 4]
    post = f"https://x.com/{user}/status/{day:%Y%m%d}{number:011d}"
    return f"{day} {number % 24:02d}:00:00,{user},{kind},{value},#phishing #scam,{post}\r\n"


if __name__ == "__main__":
    recordings = Path(sys.argv[1])
    write(recordings, int(sys.argv[2]))
    run_forever(Simulator(recordings=recordings), started=partial(print, flush=True))
