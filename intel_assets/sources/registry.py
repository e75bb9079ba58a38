"""The sources there are: an explicit list, by module.

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
    "intel_assets.threat.tweetfeed",
    "intel_assets.threat.urlhaus",
)


def names() -> list[str]:
    """Return the names of all sources."""
    return [module.rsplit(".", 1)[1] for module in MODULES]


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
    modules = {module.rsplit(".", 1)[1]: module for module in MODULES}
    return [importlib.import_module(modules[name]).SPEC for name in chosen]
