"""STIX 2.1: a bundle of indicators, the same bytes for the same lake and moment.

Identifiers follow from what they name (UUIDv5). `valid_until` is when decay takes the confidence
below what makes an indicator active. https://docs.oasis-open.org/cti/stix/v2.1/
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from intel_assets.threat.export.selection import Selection

NAMESPACE = UUID("6c1a4c0e-8f3b-5d0e-9a5e-3f1f5f1c2d7a")
"""Of the identifiers made here."""
_MADE = "2026-01-01T00:00:00.000Z"
# The marking definitions of TLP 2.0 as OASIS publishes them for STIX 2.1.
_MARKINGS = {
    "clear": "94868c89-83c2-464b-929b-a1a8aa3c8487",
    "green": "bab4a63c-aed9-4cf5-a766-dfca5abac2bb",
    "amber": "55d920b0-5e8b-4f79-9ee9-91f868d9b421",
    "amber+strict": "939a9414-2ddd-4d32-a0cd-375ea402b003",
    "red": "e828b379-4e03-4974-9ac4-e53a884c97c1",
}
_PATTERNS = {
    "ipv4": "[ipv4-addr:value = '{}']",
    "ipv6": "[ipv6-addr:value = '{}']",
    "domain": "[domain-name:value = '{}']",
    "hostname": "[domain-name:value = '{}']",
    "url": "[url:value = '{}']",
    "email": "[email-addr:value = '{}']",
    "md5": "[file:hashes.MD5 = '{}']",
    "sha1": "[file:hashes.'SHA-1' = '{}']",
    "sha256": "[file:hashes.'SHA-256' = '{}']",
    "sha512": "[file:hashes.'SHA-512' = '{}']",
    "mutex": "[mutex:name = '{}']",
    "filename": "[file:name = '{}']",
}


def pieces(selection: Selection) -> Iterator[str]:
    """Yield the text of a bundle, an object at a time, so that it need not fit into memory."""
    key = f"{selection.moment.isoformat()} {selection.wanted}"
    yield f'{{"type": "bundle", "id": "bundle--{uuid5(NAMESPACE, key)}", "objects": [\n'
    for number, one in enumerate(objects(selection)):
        yield (",\n" if number else "") + json.dumps(one, ensure_ascii=False, sort_keys=True)
    yield "\n]}\n"


def objects(selection: Selection) -> Iterator[dict[str, Any]]:
    """Yield the objects of a bundle: who says so, the markings, the indicators, what they show.

    A technique is named as ATT&CK names it, under an identifier of this bundle: ATT&CK's own would
    stand for ATT&CK's text. Whoever has that finds it by the external reference.
    """
    identity = f"identity--{uuid5(NAMESPACE, 'intel_assets')}"
    yield {
        "type": "identity",
        "spec_version": "2.1",
        "id": identity,
        "created": _MADE,
        "modified": _MADE,
        "name": "intel_assets",
        "identity_class": "system",
    }
    scopes = sorted(set(selection.indicators["tlp"]))
    yield from (_marking(scope) for scope in scopes)
    shown: set[str] = set()
    for row in selection.indicators.iter_rows(named=True):
        if pattern := pattern_of(row["indicator"], row["indicator_type"]):
            made = _indicator(row, pattern, identity)
            yield made
            for technique in row["techniques"]:
                behind = _attack_pattern(technique, selection.techniques.get(technique))
                if technique not in shown:
                    yield behind
                    shown.add(technique)
                yield _indicates(made, behind, identity)


def pattern_of(indicator: str, kind: str) -> str | None:
    """Return the STIX pattern of an indicator; None if STIX has none for its type."""
    escaped = indicator.replace("\\", "\\\\").replace("'", "\\'")
    if kind == "cidr":
        family = "ipv6-addr" if ":" in indicator else "ipv4-addr"
        return f"[{family}:value ISSUBSET '{escaped}']"
    form = _PATTERNS.get(kind)
    return form.format(escaped) if form else None


def valid_until(row: Mapping[str, Any]) -> datetime:
    """Return when the confidence falls below the threshold of the indicator's type.

    evidence * (1 - (age / tau)^(1 / delta)) = threshold, solved for the age.
    """
    left = max(0.0, 1 - row["threshold"] / row["evidence"]) if row["evidence"] else 0.0
    seen: datetime = row["last_seen"]
    lasts = timedelta(days=row["tau_days"] * left ** row["delta"])
    return seen + max(lasts, timedelta(seconds=1))


def _indicator(row: Mapping[str, Any], pattern: str, identity: str) -> dict[str, Any]:
    key = f"{row['indicator_type']}:{row['indicator']}"
    since = row["first_seen"] or row["last_seen"]
    made = {
        "type": "indicator",
        "spec_version": "2.1",
        "id": f"indicator--{uuid5(NAMESPACE, key)}",
        "created_by_ref": identity,
        "created": _moment(since),
        "modified": _moment(max(since, row["last_seen"])),
        "name": row["indicator"],
        "indicator_types": ["malicious-activity"],
        "pattern": pattern,
        "pattern_type": "stix",
        "valid_from": _moment(since),
        "valid_until": _moment(max(valid_until(row), since + timedelta(seconds=1))),
        "confidence": round(row["confidence"]),
        "object_marking_refs": [f"marking-definition--{_MARKINGS[row['tlp']]}"],
    }
    labels = sorted({*(row["malware"] or []), *(row["threats"] or []), *(row["tags"] or [])})
    return made | ({"labels": labels} if labels else {})


def _attack_pattern(technique: str, known: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a technique of ATT&CK, by its name if the lake has it."""
    url = f"https://attack.mitre.org/techniques/{technique.replace('.', '/')}"
    return {
        "type": "attack-pattern",
        "spec_version": "2.1",
        "id": f"attack-pattern--{uuid5(NAMESPACE, technique)}",
        "created": _MADE,
        "modified": _MADE,
        "name": known["name"] if known else technique,
        "external_references": [
            {
                "source_name": "mitre-attack",
                "external_id": technique,
                "url": (known["url"] if known else None) or url,
            }
        ],
    }


def _indicates(
    indicator: Mapping[str, Any], behind: Mapping[str, Any], identity: str
) -> dict[str, Any]:
    return {
        "type": "relationship",
        "spec_version": "2.1",
        "id": f"relationship--{uuid5(NAMESPACE, indicator['id'] + behind['id'])}",
        "created_by_ref": identity,
        "created": indicator["created"],
        "modified": indicator["modified"],
        "relationship_type": "indicates",
        "source_ref": indicator["id"],
        "target_ref": behind["id"],
        "object_marking_refs": indicator["object_marking_refs"],
    }


def _marking(scope: str) -> dict[str, Any]:
    extension = "extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d"
    return {
        "type": "marking-definition",
        "spec_version": "2.1",
        "id": f"marking-definition--{_MARKINGS[scope]}",
        "created": "2022-10-01T00:00:00.000Z",
        "name": f"TLP:{scope.upper()}",
        "extensions": {
            extension: {"extension_type": "property-extension", "tlp_2_0": scope},
        },
    }


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
