"""Canonical forms of indicators, as Polars expressions.

Equal indicators get equal text: refanged, hosts in lower case and IDNA, default ports dropped.
What cannot be brought into form becomes null, and the contract rejects it.
"""

from __future__ import annotations

import ipaddress

import idna
import polars as pl

_URL = (
    r"^([a-zA-Z][a-zA-Z0-9+.-]*)://(?:([^/?#@]*)@)?"
    r"(\[[0-9a-fA-F:.]+\]|[^/?#:@\[\]\s\\]+)(?::(\d{1,5}))?([/?#][^\r\n]*)?$"
)
_DEFAULT_PORTS = {"http": "80", "https": "443", "ftp": "21"}
_IPV4 = r"^(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)$"
_HOST = (
    r"^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.?$"
)


def refang(value: pl.Expr) -> pl.Expr:
    """Undo what people do to make an indicator harmless: `hxxp`, `[.]`, `(.)`, `[:]`, `[at]`."""
    return (
        value.str.strip_chars()
        .str.replace(r"^(?i)hxxp", "http")
        .str.replace_all(r"\[\.\]|\(\.\)|\{\.\}|\[dot\]", ".")
        .str.replace_all(r"\[:\]|\[://\]", ":")
        .str.replace_all(r"\[at\]|\[@\]", "@")
    )


def host(value: pl.Expr) -> pl.Expr:
    """Bring a host name into form: lower case, IDNA, without the root's dot; else null."""
    lower = value.str.to_lowercase().str.strip_chars_end(".")
    ascii_form = (
        pl.when(lower.str.contains(r"[^\x00-\x7f]"))
        .then(lower.map_batches(_to_ascii, return_dtype=pl.String))
        .otherwise(lower)
    )
    numeric = ascii_form.str.contains(r"^[\d.]+$")
    good = ascii_form.str.contains(_HOST) & (~numeric | ascii_form.str.contains(_IPV4))
    return pl.when(good).then(ascii_form)


def ipv4(value: pl.Expr) -> pl.Expr:
    """Bring an IPv4 address into form (no leading zeros); else null."""
    text = value.str.strip_chars()
    plain = text.str.replace_all(r"(^|\.)0+(\d)", "${1}${2}")
    return pl.when(text.str.contains(_IPV4)).then(plain)


def ipv6(value: pl.Expr) -> pl.Expr:
    """Bring an IPv6 address into its shortest form (RFC 5952); a mapped one becomes IPv4."""
    text = value.str.strip_chars().str.strip_chars("[]")
    return pl.when(text.str.contains(":", literal=True)).then(
        text.map_batches(_to_short, return_dtype=pl.String)
    )


def url_parts(value: pl.Expr) -> pl.Expr:
    """Take a URL apart: a struct of `scheme`, `user`, `host`, `port`, `rest`, or of nulls."""
    return value.str.extract_groups(_URL).struct.rename_fields(
        ["scheme", "user", "host", "port", "rest"]
    )


def url_host(parts: pl.Expr) -> pl.Expr:
    """Return a URL's host in canonical form, an IPv6 address without its brackets; else null."""
    name = parts.struct.field("host")
    return (
        pl.when(name.str.starts_with("["))
        .then(name.str.strip_chars("[]").str.to_lowercase())
        .otherwise(host(name))
    )


def url(parts: pl.Expr) -> pl.Expr:
    """Put a URL together again in canonical form; null if its host cannot be brought into form.

    Scheme and host in lower case, the host in IDNA, the scheme's own port dropped, an empty path
    written as `/`. Path, query and fragment stay as they are: they decide what a server gives.
    """
    scheme = parts.struct.field("scheme").str.to_lowercase()
    name = parts.struct.field("host")
    bracketed = name.str.starts_with("[")
    place = pl.when(bracketed).then(name.str.to_lowercase()).otherwise(host(name))
    port = parts.struct.field("port").cast(pl.Int32, strict=False)
    default = scheme.replace_strict(_DEFAULT_PORTS, default=None).cast(pl.Int32)
    bad_port = port.is_not_null() & ~port.is_between(1, 65535)
    user = parts.struct.field("user")
    whole = pl.concat_str(
        scheme,
        pl.lit("://"),
        pl.when(user.is_not_null()).then(user + "@").otherwise(pl.lit("")),
        place,
        pl.when(port.is_not_null() & (port.ne_missing(default)))
        .then(pl.lit(":") + port.cast(pl.String))
        .otherwise(pl.lit("")),
        parts.struct.field("rest").fill_null("/"),
    )
    return pl.when(~bad_port.fill_null(False)).then(whole)


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
    return str(address.ipv4_mapped or address)


def _to_ascii(names: pl.Series) -> pl.Series:
    foreign = names.filter(names.str.contains(r"[^\x00-\x7f]").fill_null(False)).unique().to_list()
    return names.replace_strict(
        foreign, [_idna(name) for name in foreign], default=names, return_dtype=pl.String
    )


def _idna(name: str) -> str | None:
    try:
        return idna.encode(name, uts46=True).decode()
    except idna.IDNAError:
        return None
