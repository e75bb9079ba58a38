"""A MISP feed: a folder that a MISP server pulls from a web server or a share.

`manifest.json` names the events, `<uuid>.json` holds one, `hashes.csv` tells by the MD5 of a value
in which events it stands. Indicators are spread over events by type and digest, so that each stays
in its event and a change touches few of them; identifiers follow from what they name (UUIDv5). An
event that says what it said before keeps its timestamp, and is not pulled again.
https://www.misp-project.org/feeds/
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from intel_assets.threat.export.files import put
from intel_assets.threat.export.selection import Selection

NAMESPACE = UUID("b6a4fd0e-2b8e-5c1d-9d37-0c5e5b7f9e21")
"""Of the identifiers made here."""
_ORGANISATION = {"name": "intel_assets", "uuid": str(uuid5(NAMESPACE, "intel_assets"))}
_DELIVERY, _NETWORK = "Payload delivery", "Network activity"
# What MISP calls a type, and where it puts it.
_KINDS = {
    **dict.fromkeys(("ipv4", "ipv6", "cidr"), ("ip-dst", _NETWORK)),
    **{kind: (kind, _NETWORK) for kind in ("domain", "hostname", "url", "uri")},
    **{kind: (kind, _DELIVERY) for kind in ("md5", "sha1", "sha256", "sha384", "sha512")},
    **{kind: (kind, _DELIVERY) for kind in ("imphash", "pehash", "filename", "yara")},
    "email": ("email-src", _DELIVERY),
    "ja3": ("ja3-fingerprint-md5", _NETWORK),
    "cve": ("vulnerability", "External analysis"),
    "mutex": ("mutex", "Artifacts dropped"),
}
_MADE = date(2026, 1, 1)
"""The date of every event: MISP orders by it, and it must not move with each export."""


def write(selection: Selection, folder: Path) -> int:
    """Bring a folder to what a selection says; what it served before is served until the end.

    Args:
        selection: What leaves.
        folder: The feed's folder; made if it is not there.

    Returns:
        How many indicators stand in it; MISP has no type for the others.

    Raises:
        OSError: If it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest: dict[str, Any] = {}
    digests: list[str] = []
    for event in events(selection):
        uuid = event["uuid"]
        file = folder / f"{uuid}.json"
        event["timestamp"] = _unchanged(file, event) or event["timestamp"]
        put(file, [json.dumps({"Event": event}, ensure_ascii=False, sort_keys=True)])
        manifest[uuid] = {
            name: event[name]
            for name in ("info", "date", "timestamp", "analysis", "threat_level_id", "Orgc")
        }
        digests += [f"{_md5(one['value'])},{uuid}" for one in event["Attribute"]]
    put(folder / "hashes.csv", (f"{line}\n" for line in digests))
    put(folder / "manifest.json", [json.dumps(manifest, ensure_ascii=False, sort_keys=True)])
    for file in folder.glob("*.json"):
        if file.stem not in manifest and _is_event(file.stem):
            file.unlink()
    return len(digests)


def events(selection: Selection) -> Iterator[dict[str, Any]]:
    """Yield the events, each with its attributes in order."""
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in selection.indicators.iter_rows(named=True):
        if row["indicator_type"] in _KINDS:
            key = (row["indicator_type"], hashlib.sha256(row["indicator"].encode()).hexdigest()[0])
            rows.setdefault(key, []).append(_attribute(row))
    for (kind, digit), attributes in sorted(rows.items()):
        yield {
            "uuid": str(uuid5(NAMESPACE, f"event:{kind}:{digit}")),
            "info": f"intel_assets: {kind}, part {digit}",
            "date": _MADE.isoformat(),
            "timestamp": _epoch(selection.moment),
            "publish_timestamp": _epoch(selection.moment),
            "published": True,
            "analysis": "2",
            "threat_level_id": "4",
            "distribution": "0",
            "Orgc": _ORGANISATION,
            "Attribute": sorted(attributes, key=lambda one: str(one["value"])),
        }


def _attribute(row: Mapping[str, Any]) -> dict[str, Any]:
    kind, category = _KINDS[row["indicator_type"]]
    labels = sorted({*(row["malware"] or []), *(row["threats"] or []), *(row["tags"] or [])})
    return {
        "uuid": str(uuid5(NAMESPACE, f"{row['indicator_type']}:{row['indicator']}")),
        "type": kind,
        "category": category,
        "value": row["indicator"],
        "to_ids": True,
        "timestamp": _epoch(row["last_seen"]),
        "comment": ", ".join(row["sources"]),
        "first_seen": (row["first_seen"] or row["last_seen"]).isoformat(),
        "last_seen": row["last_seen"].isoformat(),
        "Tag": [{"name": name} for name in (f"tlp:{row['tlp']}", *labels)],
    }


def _unchanged(file: Path, event: Mapping[str, Any]) -> str | None:
    """Return the timestamp of what stands there, if it says the same."""
    try:
        held = json.loads(file.read_text("utf-8"))["Event"]
        attributes, timestamp = held["Attribute"], str(held["timestamp"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None  # Nothing, or nothing of ours: it is written anew.
    return timestamp if attributes == event["Attribute"] else None


def _is_event(stem: str) -> bool:
    try:
        return UUID(stem).version == NAMESPACE.version
    except ValueError:
        return False


def _md5(value: str) -> str:
    # What MISP looks values up by; nothing hangs on its strength.
    return hashlib.md5(value.encode(), usedforsecurity=False).hexdigest()


def _epoch(moment: datetime) -> str:
    return str(int(moment.timestamp()))
