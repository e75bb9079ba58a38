"""The sources there are: an explicit list, by module and name.

The names can be read without importing a source, so that commands that only ask stay quick.
A source that fails to import fails the load: it never vanishes.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

from intel_assets.errors import UsageError

if TYPE_CHECKING:
    from intel_assets.sources.spec import SourceSpec

MODULES = (
    "intel_assets.threat.abuseipdb",
    "intel_assets.threat.abuseipdb_check",
    "intel_assets.threat.attack",
    "intel_assets.threat.plain_lists:BLOCKLIST_DE",
    "intel_assets.threat.misp_feeds:BOTVRIJ",
    "intel_assets.threat.misp_feeds:CIRCL_OSINT",
    "intel_assets.threat.plain_lists:EMERGINGTHREATS",
    "intel_assets.threat.feodo",
    "intel_assets.threat.greynoise",
    "intel_assets.threat.plain_lists:IPSUM",
    "intel_assets.threat.kev",
    "intel_assets.threat.plain_lists:MALICIOUS_IP",
    "intel_assets.threat.malwarebazaar",
    "intel_assets.threat.otx",
    "intel_assets.threat.plain_lists:SPAMHAUS_DROP",
    "intel_assets.threat.sslbl",
    "intel_assets.threat.threatfox",
    "intel_assets.threat.plain_lists:THREATFOX_IPS",
    "intel_assets.threat.tweetfeed",
    "intel_assets.threat.urlhaus",
    "intel_assets.threat.urlhaus_payloads",
    "intel_assets.threat.virustotal",
    "intel_assets.threat.warninglists",
)
"""A module's `SPEC` is the source of the module's name; `module:NAME` is the source `name`."""


def names() -> list[str]:
    """Return the names of all sources."""
    return [_name(entry) for entry in MODULES]


def known(name: str) -> str:
    """Return a source's name.

    Raises:
        UsageError: If there is no such source.
    """
    if name not in names():
        near = get_close_matches(name, names(), 1)
        hint = f"Did you mean '{near[0]}'?" if near else f"There are {', '.join(names())}."
        raise UsageError(f"There is no source '{name}'.", hint)
    return name


def load(wanted: Iterable[str] = ()) -> list[SourceSpec]:
    """Return sources by name, all of them when none is named.

    Raises:
        UsageError: If there is no such source.
    """
    chosen = [known(name) for name in dict.fromkeys(wanted)] or names()
    entries = {_name(entry): entry for entry in MODULES}
    return [_load(entries[name]) for name in chosen]


def _name(entry: str) -> str:
    module, _, attribute = entry.partition(":")
    return attribute.lower() or module.rpartition(".")[2]


def _load(entry: str) -> SourceSpec:
    module, _, attribute = entry.partition(":")
    spec: SourceSpec = getattr(importlib.import_module(module), attribute or "SPEC")
    return spec
