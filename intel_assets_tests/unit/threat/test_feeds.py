"""aggregated.feeds: what the SQL of indicators knows of the feeds."""

from __future__ import annotations

from pathlib import Path

import intel_assets.threat
from intel_assets.sources.spec import SourceSpec
from intel_assets.threat.gold import feeds

FILE = Path(intel_assets.threat.__file__).parent / "sql/feeds.sql"


def closure(name: str, by_name: dict[str, SourceSpec]) -> set[str]:
    """All that a feed is made of, and what that is made of."""
    found: set[str] = set()
    open_ends = [name]
    while open_ends:
        spec = by_name.get(open_ends.pop())
        new = set(spec.derived_from) - found if spec else set()
        found |= new
        open_ends += new
    return found


def written() -> str:
    """The file as the registry says that it should be."""
    by_name = {spec.name: spec for spec in feeds()}
    rows = []
    for spec in sorted(by_name.values(), key=lambda one: one.name):
        origins = ", ".join(f"'{one}'" for one in sorted(closure(spec.name, by_name)))
        title, licence = (text.replace("'", "''") for text in (spec.title, spec.licence))
        rows.append(
            f"    ('{spec.name}', '{title}', '{spec.kind}', {spec.trust}, [{origins}],\n"
            f"        {str(spec.redistributable).lower()}, '{licence}')"
        )
    return (
        "-- The threat feeds as the registry has them: a test holds this file equal to it, and\n"
        "-- says how to write it anew. `derived_from` names all that a feed repeats, also through\n"
        "-- others.\n"
        "SELECT\n    source,\n    title,\n    kind,\n    trust,\n"
        "    derived_from::VARCHAR[] AS derived_from,\n    redistributable,\n    licence\n"
        "FROM (VALUES\n" + ",\n".join(rows) + "\n) AS feeds (\n"
        "    source, title, kind, trust, derived_from, redistributable, licence\n)\n"
    )


def test_the_table_of_feeds_says_what_the_registry_does():
    told = "run: python -m intel_assets_tests.unit.threat.test_feeds"
    assert FILE.read_text("utf-8") == written(), told


if __name__ == "__main__":
    FILE.write_text(written(), encoding="utf-8")
