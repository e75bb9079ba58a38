"""Makes a URLhaus dump of any size: `python -m benchmarks.dump FILE ROWS`.

Drawn in columns, so 3 million rows take seconds; the same number of rows gives the same bytes. The
mix follows the real dump: devices by address, loads by name, and 8 % hosts that careless readers
break on. A few records stand twice, and a few are no URLs.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from intel_assets.clock import start_of
from intel_assets.simulator.urlhaus import csv_lines

DAYS = 30
MADE = datetime(2026, 1, 30, 23, 59, 59, tzinfo=UTC)
SEED = 7
_SECONDS = 86_400
_FIRST_ID = 2_000_000

_WORDS = np.array(["amber", "brook", "cedar", "delta", "ember", "fjord", "grove", "heron", "islet"])
_ZONES = np.array(["example", "test", "invalid", "example.com", "example.net", "example.org"])
_SCHEMES = np.array(["http://", "https://"])
_LOADS = np.array(["exe", "dll", "doc", "zip", "vbs", "ps1", "hta", "msi"])
_DEVICE_PATHS = np.array(["/i", "/bin.sh", "/.i", "/Mozi.m", "/Mozi.a"])
_DEVICE_TAGS = np.array(
    ["32-bit,elf,mips,Mozi", "32-bit,arm,elf,Mozi", "hajime", "32-bit,elf,mips", "elf,mirai"]
)
_LOAD_TAGS = np.array(["None", "None", "exe,AsyncRAT", "doc,Formbook", "hta,SocGholish", "opendir"])
_REPORTERS = np.array(["night_heron", "urlfox_sim", "grey_gull", "anonymous", "k3stral"])
_FOREIGN = np.array(["schädling", "пример", "例え", "naïve-café", "żółw"])

Text = np.ndarray[tuple[int], np.dtype[np.str_]]


def write(path: Path, rows: int) -> None:
    """Write a dump of about `rows` records over 30 days, newest first, as URLhaus does."""
    draw = np.random.default_rng(SEED)
    shares = [rows // DAYS + (number < rows % DAYS) for number in range(DAYS)]
    last = _FIRST_ID + rows
    aside = path.with_suffix(".part")
    with aside.open("wb") as file:
        file.writelines(csv_lines([], MADE))
        for number, count in enumerate(shares):
            midnight = start_of(MADE.date() - timedelta(days=number))
            frame = _records(draw, count, int(midnight.timestamp()), last)
            frame.write_csv(file, include_header=False, quote_style="always")
            last -= count
    aside.replace(path)


def _records(draw: np.random.Generator, count: int, midnight: int, last: int) -> pl.DataFrame:
    """Draw the records of a day; `last` is the number of its newest."""
    kind = draw.random(count)
    device, odd = kind < 0.50, kind >= 0.92
    urls = np.where(device, _device_urls(draw, count), _load_urls(draw, count)).astype(object)
    urls[odd] = _odd_urls(draw, int(odd.sum()))
    broken = draw.random(count) < 0.001
    urls[broken] = [url.partition("://")[2] for url in urls[broken]]
    tags = np.where(device, draw.choice(_DEVICE_TAGS, count), draw.choice(_LOAD_TAGS, count))
    added = midnight + _SECONDS - 1 - np.arange(count) * _SECONDS // max(count, 1)
    seen = added + draw.integers(0, 20 * 3600, count)
    ids = last - np.arange(count)
    frame = pl.DataFrame(
        {
            "id": ids,
            "dateadded": added,
            "url": urls.astype(str),
            "url_status": np.where(draw.random(count) < 0.3, "online", "offline"),
            "last_online": pl.Series(seen).set(pl.Series(draw.random(count) < 0.15), None),
            "threat": "malware_download",
            "tags": tags,
            "reporter": draw.choice(_REPORTERS, count),
        }
    )
    number = pl.col("id").cast(pl.String)
    link = pl.format("https://urlhaus.abuse.ch/url/{}/", number)
    text = frame.with_columns(
        _stamp("dateadded"), _stamp("last_online").fill_null(""), number, urlhaus_link=link
    ).select(pl.exclude("reporter"), "reporter")
    # Once in 500 times a record stands twice.
    twice = np.repeat(np.arange(count), np.where(draw.random(count) < 0.002, 2, 1))[:count]
    return text[twice]


def _device_urls(draw: np.random.Generator, count: int) -> Text:
    port = draw.integers(1024, 65_535, count).astype(str)
    return _joined("http://", _addresses(draw, count), ":", port, draw.choice(_DEVICE_PATHS, count))


def _load_urls(draw: np.random.Generator, count: int) -> Text:
    token = draw.integers(10**17, 10**18, count).astype(str)
    name = np.char.add(_joined("/files/", token, "/setup."), draw.choice(_LOADS, count))
    asked = _joined("?id=", draw.integers(1, 10**6, count).astype(str), "&dl=1")
    tail = np.where(draw.random(count) < 0.2, asked, "")
    host = np.where(draw.random(count) < 0.7, _names(draw, count), _addresses(draw, count))
    return _joined(draw.choice(_SCHEMES, count), host, "/", draw.choice(_WORDS, count), name, tail)


def _odd_urls(draw: np.random.Generator, count: int) -> Text:
    """Draw URLs that are not in canonical form, or whose host is not plain."""
    number = draw.integers(1, 10**6, count).astype(str)
    group = draw.integers(1, 1000, count).astype(str)
    name = _names(draw, count)
    forms = [
        _joined("https://", draw.choice(_FOREIGN, count), group, ".test/pfad/", number, ".exe"),
        _joined("http://", np.char.upper(name), "/Setup%20", number, ".EXE"),
        _joined("HTTP://", name, ":80/", number),
        _joined("https://", name, "?to=", number),
        _joined("http://", name),
        _joined("http://[2001:db8::", group, "]:8080/bin.sh"),
        _joined("http://user:pass@", name, ":81/", number, "//../x;y=1"),
        _joined("http://", name, '/say,"hello"/', number, ".hta"),
    ]
    return np.choose(draw.integers(0, len(forms), count), forms)


def _names(draw: np.random.Generator, count: int) -> Text:
    pairs = _joined(draw.choice(_WORDS, count), "-", draw.choice(_WORDS, count))
    numbers = draw.integers(1, 10_000, count).astype(str)
    return _joined(pairs, numbers, ".", draw.choice(_ZONES, count))


def _addresses(draw: np.random.Generator, count: int) -> Text:
    parts = [draw.integers(1, 255, count).astype(str) for _ in range(2)]
    return _joined("198.", draw.integers(18, 20, count).astype(str), ".", parts[0], ".", parts[1])


def _joined(*parts: str | Text) -> Text:
    whole: Text = np.asarray(parts[0])
    for part in parts[1:]:
        whole = np.char.add(whole, part)
    return whole


def _stamp(name: str) -> pl.Expr:
    return pl.from_epoch(pl.col(name)).dt.strftime("%Y-%m-%d %H:%M:%S")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    write(target, int(sys.argv[2]))
    print(json.dumps({"bytes": target.stat().st_size}))
