"""Plays reference data as GitHub serves it raw: MISP's warninglists and the ATT&CK bundles."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from intel_assets.simulator.stage import Stage, respond

HOST = "raw.githubusercontent.com"
HOSTS = (HOST,)

_ADDRESSES = ("ip-src", "ip-dst", "domain|ip", "ip-src|port", "ip-dst|port")
_NAMES = ("domain", "hostname", "domain|ip", "url")
_HASHES = ("md5", "sha1", "sha256")
_LISTS: Mapping[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "akamai": ("cidr", _ADDRESSES, ("198.18.64.0/20",)),
    "automated-malware-analysis": ("substring", _NAMES, ("sandbox.example",)),
    "cloudflare": ("cidr", _ADDRESSES, ("198.19.128.0/20", "2001:db8:cf::/48")),
    "common-ioc-false-positive": ("string", _HASHES, ("d41d8cd98f00b204e9800998ecf8427e",)),
    "disposable-email": ("substring", ("email-src", "email-dst"), ("throwaway.example",)),
    "empty-hashes": ("string", _HASHES, ("da39a3ee5e6b4b0d3255bfef95601890afd80709",)),
    "fastly": ("cidr", _ADDRESSES, ("198.19.16.0/24",)),
    "google": ("string", _NAMES, ("search.example",)),
    "googlebot": ("cidr", _ADDRESSES, ("198.19.17.0/27",)),
    "lots-project": ("hostname", _NAMES, (".pages.example", "drive.example.com")),
    "microsoft-office365": ("string", ("domain", "hostname"), ("office.example",)),
    "multicast": ("cidr", _ADDRESSES, ("224.0.0.0/4",)),
    "parking-domain": ("cidr", _ADDRESSES, ("198.19.20.9/32",)),
    "public-dns-v4": ("cidr", _ADDRESSES, ("198.18.53.53", "198.19.53.53")),
    "public-dns-v6": ("cidr", _ADDRESSES, ("2001:db8::53",)),
    "public-ipfs-gateways": ("string", _NAMES, ("ipfs.example",)),
    "rfc1918": ("cidr", _ADDRESSES, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")),
    "rfc5735": ("cidr", _ADDRESSES, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16")),
    "rfc6598": ("cidr", _ADDRESSES, ("100.64.0.0/10",)),
    "rfc6761": ("string", ("domain", "hostname"), ("localhost",)),
    "security-provider-blogpost": ("hostname", _NAMES, ("blog.example.org",)),
    "sinkholes": ("cidr", _ADDRESSES, ("198.18.200.0/28",)),
    "tlds": ("string", ("domain", "hostname"), ("EXAMPLE", "INVALID", "TEST")),
    "url-shortener": ("hostname", _NAMES, ("short.example",)),
}
_MATRICES = {"enterprise": "Enterprise ATT&CK", "mobile": "Mobile ATT&CK", "ics": "ICS ATT&CK"}
_TECHNIQUES = (
    ("T1059", "Command and Scripting Interpreter", "execution"),
    ("T1059.001", "PowerShell", "execution"),
    ("T1071", "Application Layer Protocol", "command-and-control"),
    ("T1105", "Ingress Tool Transfer", "command-and-control"),
    ("T1566.002", "Spearphishing Link", "initial-access"),
)
_GROUPS = (("G9001", "APT-HERON"), ("G9002", "APT-OTTER"))
_SOFTWARE = (("S9001", "Cobalt Strike"), ("S9002", "AsyncRAT"), ("S9003", "Mirai"))


def routes(stage: Stage) -> list[BaseRoute]:
    """Return what is played for the references."""

    def warninglist(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _LISTS:
            return PlainTextResponse("404: Not Found", status_code=404)
        return _json(request, stage, _warninglist(name))

    def bundle(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _MATRICES or request.path_params["file"] != f"{name}-attack.json":
            return PlainTextResponse("404: Not Found", status_code=404)
        return _json(request, stage, _bundle(name, stage.clock()))

    return [
        Route(f"/{HOST}/MISP/misp-warninglists/main/lists/{{name}}/list.json", warninglist),
        Route(f"/{HOST}/mitre-attack/attack-stix-data/master/{{name}}-attack/{{file}}", bundle),
    ]


def _json(request: Request, stage: Stage, found: Mapping[str, Any]) -> Response:
    text = json.dumps(found, indent=2)
    return respond(
        request,
        lambda: [text.encode()],
        media_type="text/plain; charset=utf-8",
        etag=stage.etag(text),
    )


def _warninglist(name: str) -> Mapping[str, Any]:
    kind, attributes, values = _LISTS[name]
    return {
        "description": f"The list {name}, played.",
        "list": list(values),
        "matching_attributes": list(attributes),
        "name": f"List of {name}",
        "type": kind,
        "version": 20260811,
    }


def _bundle(name: str, now: datetime) -> Mapping[str, Any]:
    """Return a bundle: two versions a year, in each of which the first technique changes."""
    version = f"{(now.year - 2017) * 2 - (now.month < 7)}.1"
    modified = f"{now.year}-{'01' if now.month < 7 else '07'}-15T14:00:00.000Z"
    objects = [_object("x-mitre-collection", name, _MATRICES[name], None, modified)]
    objects[0]["x_mitre_version"] = version
    for place, (key, title, tactic) in enumerate(_TECHNIQUES):
        changed = modified if place == 0 else "2025-01-15T14:00:00.000Z"
        one = _object("attack-pattern", f"{name}/{key}", title, key, changed)
        one["kill_chain_phases"] = [{"kill_chain_name": "mitre-attack", "phase_name": tactic}]
        one["x_mitre_platforms"] = ["Linux", "Windows"]
        one["x_mitre_version"] = version if place == 0 else "1.0"
        objects.append(one)
    for key, title in _GROUPS:
        one = _object("intrusion-set", f"{name}/{key}", title, key, "2025-01-15T14:00:00.000Z")
        objects.append(one | {"aliases": [title, f"{title}-ALIAS"]})
    for key, title in _SOFTWARE:
        one = _object("malware", f"{name}/{key}", title, key, "2025-01-15T14:00:00.000Z")
        objects.append(one | {"x_mitre_aliases": [title]})
    group, software = objects[6], objects[8:]
    for place, one in enumerate(software):
        tie = _object("relationship", f"{name}/uses/{place}", None, None, one["modified"])
        ends = {"source_ref": group["id"], "target_ref": one["id"]}
        objects.append(tie | ends | {"relationship_type": "uses"})
    return {"type": "bundle", "id": f"bundle--{uuid5(NAMESPACE_URL, name)}", "objects": objects}


def _object(
    kind: str, key: str, name: str | None, external: str | None, modified: str
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": kind,
        "spec_version": "2.1",
        "id": f"{kind}--{uuid5(NAMESPACE_URL, key)}",
        "created": "2020-01-15T14:00:00.000Z",
        "modified": modified,
        "revoked": False,
        "x_mitre_deprecated": False,
    }
    if name:
        found |= {"name": name, "description": f"{name}, played."}
    if external:
        url = f"https://attack.mitre.org/{external}"
        found["external_references"] = [
            {"source_name": "mitre-attack", "url": url, "external_id": external}
        ]
    return found
