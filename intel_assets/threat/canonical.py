"""Canonical forms of indicators, as Polars expressions.

Equal indicators get equal text: refanged, hosts in lower case and IDNA, default ports dropped.
What cannot be brought into form becomes null, and the contract rejects it.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

import idna
import polars as pl
from publicsuffixlist import PublicSuffixList

_URL = (
    r"^([a-zA-Z][a-zA-Z0-9+.-]*)://(?:([^/?#@\s]*)@)?"
    r"(\[[0-9a-fA-F:.]+\]|[^/?#:@\[\]\s\\]+)(?::([0-9]{1,5}))?([/?#][^\r\n]*)?$"
)
_HEAD_AND_TAIL = r"(?s)^([^/?#]*//\]?[^/?#]*)(.*)$"
_DEFAULT_PORTS = {"http": 80, "https": 443, "ftp": 21}
_URL_AND_HOST = pl.Struct({"url": pl.String, "host": pl.String})
_BOUNDS = pl.Struct({"first_address": pl.String, "last_address": pl.String})
# Digits are [0-9] throughout: \d is any digit of Unicode.
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_FOUR_OCTETS = rf"^(?:{_OCTET}\.){{3}}{_OCTET}$"
# In form for certain: what this matches, taking it apart and putting it together leaves as it is.
_PLAIN_URL = (
    rf"^https?://(?:(?:{_OCTET}\.){{3}}{_OCTET}|(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]+)"
    r"(?::(?:[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]|[1-9][0-9]{3}))?"
    r"/[\x21-\x7e]*$"
)
_PLAIN_HOST = r"^https?://([^/:]+)"
_IPV4 = rf"^(?:0{{0,2}}{_OCTET}\.){{3}}0{{0,2}}{_OCTET}$"
_HOST = (
    r"^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.?$"
)

_RANGE = r"^[0-9A-Fa-f:.]+/[0-9]{1,3}$"
_DOMAIN = r"\.[a-z0-9-]*[a-z][a-z0-9-]*$"
_MAPPED_BITS = 96
_LONGEST_NAME = 253  # RFC 1035 §2.3.4, without the root's dot
# IANA's special-purpose registry, as far as such an address can stand in a feed only by mistake.
# The ranges for documentation and benchmarks are left to the warninglists, which name them.
_RESERVED = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.168.0.0/16",
        "224.0.0.0/3",
        "::/127",
        "fc00::/7",
        "fe80::/10",
        "ff00::/8",
    )
)
_DIGESTS = {32: "md5", 40: "sha1", 64: "sha256", 96: "sha384", 128: "sha512"}


def refang(value: pl.Expr) -> pl.Expr:
    """Undo what people do to make an indicator harmless: `hxxp`, `[.]`, `(.)`, `[:]`, `[at]`."""
    return _refang(value.str.strip_chars())


def host(value: pl.Expr) -> pl.Expr:
    """Bring a host name into form: lower case, IDNA, without the root's dot; else null."""
    lower = value.str.to_lowercase().str.strip_chars_end(".")
    ascii_form = (
        pl.when(lower.str.contains(r"[^\x00-\x7f]"))
        .then(lower.map_batches(_to_ascii, return_dtype=pl.String))
        .otherwise(lower)
    )
    numeric = ascii_form.str.contains(r"^[0-9.]+$")
    good = ascii_form.str.contains(_HOST) & (~numeric | ascii_form.str.contains(_FOUR_OCTETS))
    return pl.when(good).then(ascii_form)


def ipv4(value: pl.Expr) -> pl.Expr:
    """Bring an IPv4 address into form (no leading zeros); else null."""
    text = value.str.strip_chars()
    plain = text.str.replace_all(r"(^|\.)0+([0-9])", "${1}${2}")
    return pl.when(text.str.contains(_IPV4)).then(plain)


def ipv6(value: pl.Expr) -> pl.Expr:
    """Bring an IPv6 address into its shortest form (RFC 5952); a mapped one becomes IPv4."""
    text = value.str.strip_chars().str.strip_chars("[]")
    return pl.when(text.str.contains(":", literal=True)).then(
        text.map_batches(_to_short, return_dtype=pl.String)
    )


def address(value: pl.Expr) -> pl.Expr:
    """Bring an address of either kind into form; else null."""
    text = refang(value)
    return pl.coalesce(ipv4(text), ipv6(text))


def address_type(value: pl.Expr) -> pl.Expr:
    """Return whether an address in form is `ipv4` or `ipv6`; null where it is null."""
    six = value.str.contains(":", literal=True)
    return pl.when(six).then(pl.lit("ipv6")).when(value.is_not_null()).then(pl.lit("ipv4"))


def cidr(value: pl.Expr) -> pl.Expr:
    """Bring a range of addresses into form: its first address and the prefix's length; else null.

    A range of one is that address. Bits behind the prefix are dropped.
    """
    text = value.str.strip_chars()
    return pl.when(text.str.contains(_RANGE)).then(
        text.map_batches(_to_ranges, return_dtype=pl.String)
    )


def bounds(value: pl.Expr) -> pl.Expr:
    """Return the first and last address of a canonical address or range.

    A struct of `first_address` and `last_address`, 32 hexadecimals each (IPv4 as ::ffff:a.b.c.d),
    so that text compares as the addresses do; both null where the value is none.
    """
    return value.map_batches(_to_bounds, return_dtype=_BOUNDS)


def domain(value: pl.Expr) -> pl.Expr:
    """Bring a domain into form, as `host` does; null where it has no dot or is an address."""
    return if_domain(host(value.str.strip_chars()))


def if_domain(name: pl.Expr) -> pl.Expr:
    """Return a host in form if it is a domain; else null."""
    return pl.when(name.str.contains(_DOMAIN) & (name.str.len_bytes() <= _LONGEST_NAME)).then(name)


def digest(value: pl.Expr) -> pl.Expr:
    """Bring a file's hash into form: hexadecimals in lower case; else null."""
    text = value.str.strip_chars().str.to_lowercase()
    return pl.when(text.str.contains(r"^[0-9a-f]+$") & digest_type(text).is_not_null()).then(text)


def digest_type(value: pl.Expr) -> pl.Expr:
    """Return what kind of hash a value in form is, by its length alone; null if it is none."""
    return value.str.len_bytes().replace_strict(_DIGESTS, default=None, return_dtype=pl.String)


def email(value: pl.Expr) -> pl.Expr:
    """Bring an e-mail address into form, its host as `domain` does; else null."""
    parts = refang(value).str.extract_groups(r"^([^@\s]{1,64})@([^@\s]+)$").struct
    # RFC 5321 §2.4 lets case decide before the @; no host that matters does.
    return parts.field("1").str.to_lowercase() + "@" + domain(parts.field("2"))


def cve(value: pl.Expr) -> pl.Expr:
    """Bring the number of a vulnerability into form: `CVE-2025-4664`; else null."""
    text = value.str.strip_chars().str.to_uppercase()
    return pl.when(text.str.contains(r"^CVE-(?:19|20)[0-9]{2}-[0-9]{4,19}$")).then(text)


def address_and_port(value: pl.Expr) -> pl.Expr:
    """Divide `address:port` at the last colon: a struct of `address` and `port`, both null if none.

    An IPv6 address may stand without brackets, as ThreatFox writes it.
    """
    parts = refang(value).str.extract_groups(r"^(.+):([0-9]{1,5})$").struct
    port = parts.field("2").cast(pl.Int32, strict=False)
    place = pl.coalesce(ipv4(parts.field("1")), ipv6(parts.field("1")))
    good = place.is_not_null() & port.is_between(1, 65_535)
    return pl.struct(
        address=pl.when(good).then(place),
        port=pl.when(good).then(port),
    )


def registered_domain(host: pl.Expr) -> pl.Expr:
    """Return the part of a canonical host name that somebody registered; null for an address.

    By the Public Suffix List (https://publicsuffix.org), private suffixes included: of
    `a.b.github.io` it is `b.github.io`. A bare suffix has none.
    """
    return host.map_batches(_to_registered, return_dtype=pl.String)


def reserved(address: pl.Expr) -> pl.Expr:
    """Whether the internet does not route a canonical address or range; false where null."""
    octets = address.str.extract_groups(r"^([0-9]+)\.([0-9]+)\.([0-9]+)\.([0-9]+)(?:/|$)").struct
    number = pl.sum_horizontal(
        octets.field(str(place)).cast(pl.UInt32) * 256 ** (4 - place) for place in (1, 2, 3, 4)
    )
    number = pl.when(octets.field("1").is_not_null()).then(number)
    within = [
        number.is_between(int(net.network_address), int(net.broadcast_address))
        for net in _RESERVED
        if net.version == 4
    ]
    six = pl.when(address.str.contains(":", literal=True)).then(address)
    return pl.any_horizontal(
        *within, six.map_batches(_six_reserved, return_dtype=pl.Boolean)
    ).fill_null(False)


def urls(value: pl.Expr) -> pl.Expr:
    """Bring a URL into form: a struct of `url` and its `host`, both null if it is none.

    Scheme and host in lower case, the host in IDNA, the scheme's own port dropped, an empty path
    written as `/`. Path, query and fragment stay as they are: they decide what a server gives,
    so they are not refanged either.
    The host of an IPv6 address stands without its brackets.
    """
    return value.map_batches(_urls, return_dtype=_URL_AND_HOST)


def _urls(values: pl.Series) -> pl.Series:
    """Most URLs are in form already: one look tells, and only the others are taken apart."""
    plain = values.str.contains(_PLAIN_URL).fill_null(False)
    odd = (~plain).arg_true()
    mended = (
        values.gather(odd)
        .to_frame("value")
        .with_columns(parts=_refang_head(pl.col("value")).str.extract_groups(_URL))
        # A column of its own: the place is worked out once, not for each use.
        .with_columns(host=_place(pl.col("parts")))
        .select("host", url=_together(pl.col("parts"), pl.col("host")))
    )
    hosts = values.str.extract(_PLAIN_HOST)
    return pl.DataFrame(
        {
            "url": values.clone().scatter(odd, mended["url"]),
            "host": hosts.scatter(odd, mended["host"]),
        }
    ).to_struct(values.name)


def _refang_head(value: pl.Expr) -> pl.Expr:
    parts = value.str.strip_chars().str.extract_groups(_HEAD_AND_TAIL)
    return _refang(parts.struct.field("1")) + parts.struct.field("2")


def _refang(value: pl.Expr) -> pl.Expr:
    # Nested brackets go at once, so that doing it again changes nothing.
    return (
        value.str.replace(r"^(?i)hxxp", "http")
        .str.replace_all(r"[\[({]+(?:\.|dot)[\])}]+", ".")
        .str.replace_all(r"\[+(:|://)\]+", "${1}")
        .str.replace_all(r"\[+(?:at|@)\]+", "@")
    )


def _place(parts: pl.Expr) -> pl.Expr:
    name = parts.struct.field("3")
    six = name.str.starts_with("[")
    return pl.when(six).then(ipv6(name)).otherwise(host(name))


def _together(parts: pl.Expr, place: pl.Expr) -> pl.Expr:
    scheme = parts.struct.field("1").str.to_lowercase()
    user = parts.struct.field("2")
    port = parts.struct.field("4").cast(pl.Int32, strict=False)
    default = scheme.replace_strict(_DEFAULT_PORTS, default=None, return_dtype=pl.Int32)
    six = place.str.contains(":", literal=True)
    whole = pl.concat_str(
        scheme,
        pl.lit("://"),
        pl.when(user.is_not_null()).then(user + "@").otherwise(pl.lit("")),
        pl.when(six).then("[" + place + "]").otherwise(place),
        pl.when(port.is_not_null() & port.ne_missing(default))
        .then(":" + port.cast(pl.String))
        .otherwise(pl.lit("")),
        parts.struct.field("5").str.replace(r"^([?#])", "/${1}").fill_null("/"),
    )
    return pl.when(port.is_null() | port.is_between(1, 65_535)).then(whole)


def _to_short(addresses: pl.Series) -> pl.Series:
    known = addresses.filter(addresses.str.contains(":", literal=True).fill_null(False)).unique()
    forms = {text: _short(text) for text in known.to_list()}
    return addresses.replace_strict(
        list(forms), list(forms.values()), default=None, return_dtype=pl.String
    )


def _short(text: str) -> str | None:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return None
    # A zone is the name of an interface of one machine, and may be any text.
    return None if address.scope_id else str(address.ipv4_mapped or address)


def _to_ranges(ranges: pl.Series) -> pl.Series:
    known = ranges.filter(ranges.str.contains(_RANGE).fill_null(False)).unique()
    forms = {text: _range(text) for text in known.to_list()}
    return ranges.replace_strict(
        list(forms), list(forms.values()), default=None, return_dtype=pl.String
    )


def _range(text: str) -> str | None:
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    if (
        isinstance(found, ipaddress.IPv6Network)
        and found.prefixlen >= _MAPPED_BITS
        and (four := found.network_address.ipv4_mapped) is not None
    ):
        # ::ffff:1.2.3.0/120 is 1.2.3.0/24, as ::ffff:1.2.3.4 is 1.2.3.4.
        found = ipaddress.ip_network((four, found.prefixlen - _MAPPED_BITS))
    return str(found.network_address) if found.num_addresses == 1 else str(found)


def _to_ascii(names: pl.Series) -> pl.Series:
    foreign = names.filter(names.str.contains(r"[^\x00-\x7f]").fill_null(False)).unique().to_list()
    return names.replace_strict(
        foreign, [_idna(name) for name in foreign], default=names, return_dtype=pl.String
    )


# A fifth of a millisecond each, and the same hosts come again and again.
@lru_cache(maxsize=65_536)
def _idna(name: str) -> str | None:
    try:
        return idna.encode(name, uts46=True).decode()
    except idna.IDNAError:
        return None


_SUFFIXES = PublicSuffixList()


def _to_registered(hosts: pl.Series) -> pl.Series:
    named = hosts.filter(hosts.str.contains(_DOMAIN).fill_null(False)).unique().to_list()
    return hosts.replace_strict(
        named, [_registered(name) for name in named], default=None, return_dtype=pl.String
    )


@lru_cache(maxsize=65_536)
def _registered(name: str) -> str | None:
    found: str | None = _SUFFIXES.privatesuffix(name)
    return found


def _six_reserved(addresses: pl.Series) -> pl.Series:
    known = addresses.drop_nulls().unique().to_list()
    return addresses.replace_strict(
        known, [_is_reserved(text) for text in known], default=False, return_dtype=pl.Boolean
    )


def _is_reserved(text: str) -> bool:
    place = ipaddress.ip_network(text).network_address
    return any(place in net for net in _RESERVED if net.version == place.version)


def _to_bounds(values: pl.Series) -> pl.Series:
    known = values.drop_nulls().unique().to_list()
    found = [_ends(text) for text in known]
    return pl.DataFrame(
        {
            name: values.replace_strict(
                known, [ends[place] for ends in found], default=None, return_dtype=pl.String
            )
            for place, name in enumerate(("first_address", "last_address"))
        }
    ).to_struct(values.name)


def _ends(text: str) -> tuple[str | None, str | None]:
    try:
        net = ipaddress.ip_network(text)
    except ValueError:
        return None, None
    mapped = 0xFFFF << 32 if net.version == 4 else 0
    first, last = int(net.network_address), int(net.broadcast_address)
    return f"{mapped + first:032x}", f"{mapped + last:032x}"
