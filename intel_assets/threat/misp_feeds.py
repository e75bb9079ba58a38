"""The MISP feeds that are taken: where each is, and who makes it."""

from __future__ import annotations

from datetime import date

from intel_assets.threat.misp_feed import misp_feed

CIRCL_OSINT = misp_feed(
    name="circl_osint",
    url="https://www.circl.lu/doc/misp/feed-osint",
    title="CIRCL OSINT",
    description="Events that CIRCL, the Luxembourg CERT, collects from open reports.",
    homepage="https://www.circl.lu/doc/misp/feed-osint/",
    licence="none stated",
    redistributable=False,
    start=date(2014, 10, 1),
    cadence="55 */4 * * *",
    trust=70,
)

BOTVRIJ = misp_feed(
    name="botvrij",
    url="https://www.botvrij.eu/data/feed-osint",
    title="Botvrij.eu OSINT",
    description="Events that Botvrij.eu makes of open reports.",
    homepage="https://www.botvrij.eu/",
    licence="none stated",
    redistributable=False,
    start=date(2014, 10, 1),
    cadence="25 */6 * * *",
    # Like CIRCL's of published reports, but by one person.
    trust=60,
)
