"""Block lists: plain, hosts, RPZ and collapsed ranges, each with a head that says what it is."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Literal

from intel_assets.threat.export.selection import Selection

Form = Literal["plain", "hosts", "rpz", "cidr"]
FORMS: tuple[Form, ...] = ("plain", "hosts", "rpz", "cidr")
_NAMES = ("domain", "hostname")
_ADDRESSES = ("ipv4", "ipv6", "cidr")
_BLOCKED = (*_ADDRESSES, *_NAMES, "url")


def lines(selection: Selection, form: Form) -> Iterator[str]:
    """Yield the lines of a block list, without their ends.

    Args:
        selection: What leaves.
        form: `plain`: an indicator a line; `hosts`: for a hosts file; `rpz`: a zone for response
            policies (names and their subdomains); `cidr`: addresses as the fewest ranges that
            hold them and nothing else.
    """
    entries = list(_entries(selection, form))
    mark = ";" if form == "rpz" else "#"
    yield from (f"{mark} {line}" for line in _head(selection, form, len(entries)))
    if form == "rpz":
        serial = f"{selection.moment:%Y%m%d%H}"
        yield "$TTL 300"
        yield f"@ SOA localhost. root.localhost. {serial} 3600 600 86400 300"
        yield "@ NS localhost."
    yield from entries


def _entries(selection: Selection, form: Form) -> Iterator[str]:
    rows = selection.indicators.select("indicator", "indicator_type").iter_rows()
    if form == "cidr":
        yield from collapsed(value for value, kind in rows if kind in _ADDRESSES)
        return
    for value, kind in rows:
        if form == "plain" and kind in _BLOCKED:
            yield value
        elif form == "hosts" and kind in _NAMES:
            yield f"0.0.0.0 {value}"
        elif form == "rpz" and kind in _NAMES:
            yield f"{value} CNAME ."
            yield f"*.{value} CNAME ."


def collapsed(addresses: Iterable[str]) -> Iterator[str]:
    """Yield the fewest ranges that hold some addresses and ranges, and no other address."""
    nets = [ipaddress.ip_network(one) for one in addresses]
    four = [net for net in nets if isinstance(net, ipaddress.IPv4Network)]
    six = [net for net in nets if isinstance(net, ipaddress.IPv6Network)]
    yield from (str(net) for net in ipaddress.collapse_addresses(four))
    yield from (str(net) for net in ipaddress.collapse_addresses(six))


def _head(selection: Selection, form: Form, count: int) -> Iterator[str]:
    wanted = selection.wanted
    yield f"Indicators as of {selection.moment:%Y-%m-%d %H:%M:%S} UTC, form {form}"
    yield f"{count} entries of {selection.indicators.height} indicators"
    yield f"Confidence at least {wanted.min_confidence:g} of 100, sharing scope to {wanted.tlp}"
    yield from (f"Left out: {number} {why}" for why, number in selection.withheld.items())
    yield from (f"Source: {name} ({licence})" for name, licence in selection.sources.items())
