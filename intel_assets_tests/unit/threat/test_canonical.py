"""What canonical forms promise."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intel_assets.threat import canonical

Form = Callable[[pl.Expr], pl.Expr]


def apply(form: Form, values: list[str | None]) -> list[object]:
    frame = pl.DataFrame({"value": pl.Series(values, dtype=pl.String)})
    return frame.select(form(pl.col("value"))).to_series().to_list()


def url(value: pl.Expr) -> pl.Expr:
    return canonical.urls(value).struct.field("url")


def url_host(value: pl.Expr) -> pl.Expr:
    return canonical.urls(value).struct.field("host")


FORMS = [canonical.refang, canonical.host, canonical.domain, canonical.ipv4, canonical.address, url]
NAMES = [form.__name__ for form in FORMS]

WORDS = """
http https ftp hxxp HTTP :// [://] [:] : / // ? # @ [at] [@] . [.] (.) {.} [dot] [[.]] [ ] ( )
a A b.c evil.COM münchen.de ß ｅｘ。com xn--a - _ 1 010 0 255 999 1.2.3.4 ٣ １ [::1] ::ffff:1.2.3.4
2001:DB8::1 %eth0 80 443 :80 :443 :0 :65536 :99999 \
"""
PIECES = st.sampled_from([*WORDS.split(), " ", "\n", "\r", "\t", "\x00", "\x85", "\u200b"])
LIKELY = st.lists(PIECES, max_size=10).map("".join)
TEXTS = st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=20), LIKELY)


@pytest.mark.parametrize("form", FORMS, ids=NAMES)
@settings(max_examples=150, deadline=None)
@given(st.lists(TEXTS, max_size=6))
def test_a_form_takes_any_text_and_stays_as_it_is(form: Form, values: list[str | None]) -> None:
    once = apply(form, values)
    assert len(once) == len(values)
    assert all(type(found) in (str, type(None)) for found in once)
    assert apply(form, once) == once  # type: ignore[arg-type]
    assert all(found is None for found, value in zip(once, values, strict=True) if value is None)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(LIKELY | st.builds("{}{}/{}".format, st.just("http://"), LIKELY, LIKELY))
def test_a_url_has_a_host_in_form_or_is_none(value: str) -> None:
    (found,) = apply(url, [value])
    (place,) = apply(url_host, [value])
    if found is not None:
        assert isinstance(place, str)
        assert place in str(found)
        assert [place] in (
            apply(canonical.host, [place]),
            apply(canonical.ipv6, [place]),
        )
        assert place.isascii()


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, min_size=2, max_size=6))
def test_a_value_has_the_same_form_in_any_company(values: list[str | None]) -> None:
    for form in FORMS:
        assert apply(form, values) == [apply(form, [value])[0] for value in values]


@pytest.mark.parametrize(
    ("defanged", "plain"),
    [
        ("hxxp://evil[.]com/a", "http://evil.com/a"),
        ("hXXps://evil(.)com", "https://evil.com"),
        ("  http[:]//evil{.}com ", "http://evil.com"),
        ("hxxp[://]evil[dot]com", "http://evil.com"),
        ("http://evil[[.]]com", "http://evil.com"),
        ("me[at]evil[.]com", "me@evil.com"),
        ("me[@]evil.com", "me@evil.com"),
        ("http://[::1]/", "http://[::1]/"),
        ("1[.]2[.]3[.]4", "1.2.3.4"),
        ("oh hxxp", "oh hxxp"),
    ],
)
def test_what_was_made_harmless_is_undone(defanged: str, plain: str) -> None:
    assert apply(canonical.refang, [defanged]) == [plain]


@pytest.mark.parametrize(
    ("given", "form"),
    [
        ("Evil.COM.", "evil.com"),
        ("münchen.de", "xn--mnchen-3ya.de"),
        ("MÜNCHEN.DE", "xn--mnchen-3ya.de"),
        ("xn--mnchen-3ya.de", "xn--mnchen-3ya.de"),
        ("faß.de", "xn--fa-hia.de"),
        ("ｅｘ。com", "ex.com"),
        ("１.2.3.4", "1.2.3.4"),
        ("a_b.evil.com", "a_b.evil.com"),
        ("localhost", "localhost"),
        ("1.2.3.4", "1.2.3.4"),
        ("999.1.1.1", None),
        ("1.2.3", None),
        ("010.1.1.1", None),
        ("a..b", None),
        ("-a.com", None),
        ("a-.com", None),
        ("a b.com", None),
        ("a" * 63 + ".com", "a" * 63 + ".com"),
        ("a" * 64 + ".com", None),
        ("☃.net", None),
        ("", None),
        (".", None),
        ("evil.com\n", None),
    ],
)
def test_hosts(given: str, form: str | None) -> None:
    assert apply(canonical.host, [given]) == [form]


@pytest.mark.parametrize(
    ("given", "form"),
    [
        ("1.2.3.4", "1.2.3.4"),
        (" 1.2.3.4\t", "1.2.3.4"),
        ("01.002.003.4", "1.2.3.4"),
        ("010.0.00.000", "10.0.0.0"),
        ("255.255.255.255", "255.255.255.255"),
        ("256.1.1.1", None),
        ("999.1.1.1", None),
        ("1.1.1", None),
        ("1.1.1.1.1", None),
        ("0001.1.1.1", None),
        ("-1.1.1.1", None),
        ("1.1.1.1/24", None),
        ("٣.1.1.1", None),
        ("１.1.1.1", None),
        ("", None),
    ],
)
def test_ipv4_addresses(given: str, form: str | None) -> None:
    assert apply(canonical.ipv4, [given]) == [form]


@pytest.mark.parametrize(
    ("given", "form"),
    [
        ("2001:0DB8:0000:0000:0000:0000:0000:0001", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("::FFFF:0102:0304", "1.2.3.4"),
        ("::", "::"),
        ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        ("2001:db8::1::2", None),
        ("fe80::1%eth0", None),
        ("1.2.3.4", None),
        ("12345::", None),
        ("", None),
    ],
)
def test_ipv6_addresses(given: str, form: str | None) -> None:
    assert apply(canonical.ipv6, [given])[0] in (form,)


@pytest.mark.parametrize(
    ("given", "form"),
    [
        ("http://evil.com", "http://evil.com/"),
        ("HTTP://Evil.COM/Path?Q=A#F", "http://evil.com/Path?Q=A#F"),
        ("http://evil.com?q", "http://evil.com/?q"),
        ("http://evil.com#f", "http://evil.com/#f"),
        ("http://evil.com:80/", "http://evil.com/"),
        ("https://evil.com:443/", "https://evil.com/"),
        ("ftp://evil.com:21/", "ftp://evil.com/"),
        ("https://evil.com:80/", "https://evil.com:80/"),
        ("http://evil.com:08080/", "http://evil.com:8080/"),
        ("http://evil.com:443/", "http://evil.com:443/"),
        ("http://evil.com:65535/", "http://evil.com:65535/"),
        ("http://evil.com:65536/", None),
        ("http://evil.com:99999/", None),
        ("http://evil.com:0/", None),
        ("http://evil.com:x/", None),
        ("http://evil.com:٨٠/", None),
        ("http://me:pw@Evil.com/", "http://me:pw@evil.com/"),
        ("http://1.2.3.4:80/bin", "http://1.2.3.4/bin"),
        ("http://1.2.3.4:8080/bin", "http://1.2.3.4:8080/bin"),
        ("http://999.1.1.1/", None),
        ("http://01.2.3.4/", None),
        ("http://٣.1.1.1/", None),
        ("http://１.1.1.1/", "http://1.1.1.1/"),
        ("http://[2001:DB8:0:0::1]:8080/a", "http://[2001:db8::1]:8080/a"),
        ("http://[::ffff:1.2.3.4]/", "http://1.2.3.4/"),
        ("http://[::1", None),
        ("http://münchen.de/ä", "http://xn--mnchen-3ya.de/ä"),
        ("hxxp://evil[.]com/a", "http://evil.com/a"),
        ("hxxps[://]evil[.]com", "https://evil.com/"),
        ("svn://evil.com/x", "svn://evil.com/x"),
        (" http://evil.com/ ", "http://evil.com/"),
        ("http://evil.com/a b", "http://evil.com/a b"),
        ("http://evil.com/a\nb", None),
        ("http://e vil.com/", None),
        ("http://evil.com /", None),
        ("http:///a", None),
        ("http://", None),
        ("evil.com/a", None),
        ("//evil.com/a", None),
        ("", None),
        ("http://evil.com\\a", None),
    ],
)
def test_urls(given: str, form: str | None) -> None:
    assert apply(url, [given]) == [form]


def test_a_path_stays_as_it_is_however_its_host_is_written() -> None:
    path = "/a[.]b?x=[at]&y=hxxp://c[.]d#[:]"
    given = [f"http://evil.com{path}", f"http://EVIL.com{path}", f"hxxp://evil[.]com{path}"]
    assert apply(url, given) == [f"http://evil.com{path}"] * 3


def test_the_host_of_a_url_stands_without_brackets_and_port() -> None:
    given = ["http://evil.com:8080/", "http://[::1]:8080/", "http://u@Evil.com", "nothing", None]
    assert apply(url_host, given) == ["evil.com", "::1", "evil.com", None, None]


def test_a_column_without_rows_has_a_form() -> None:
    for form in FORMS:
        assert apply(form, []) == []


@pytest.mark.parametrize(
    ("delivered", "form"),
    [
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("192.0.2.77/24", "192.0.2.0/24"),
        ("192.0.2.7/32", "192.0.2.7"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("2001:db8::1/128", "2001:db8::1"),
        ("::ffff:192.0.2.77/120", "192.0.2.0/24"),
        ("::ffff:192.0.2.7/128", "192.0.2.7"),
        ("::ffff:0:0/90", "::ffc0:0:0/90"),
        ("192.0.2.0/33", None),
        ("192.0.2.0/255.255.255.0", None),
        ("2001:db8::/129", None),
        ("192.0.2/24", None),
        ("192.0.2.0/", None),
        ("192.0.2.0", None),
        ("٣.0.2.0/24", None),
        (None, None),
    ],
)
def test_a_range_is_named_by_its_first_address_and_a_range_of_one_is_that_address(
    delivered: str | None, form: str | None
) -> None:
    assert apply(canonical.cidr, [delivered]) == [form]


@pytest.mark.parametrize(
    ("delivered", "form"),
    [
        ("Evil.EXAMPLE.", "evil.example"),
        ("a_b.evil.example", "a_b.evil.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("evil.xn--p1ai", "evil.xn--p1ai"),
        ("evil", None),
        ("192.0.2.1", None),
        ("evil.123", None),
        ("*.evil.example", None),
        ("evil..example", None),
        (".".join(["a" * 60] * 4 + ["example"]), ".".join(["a" * 60] * 4 + ["example"])),
        (".".join(["a" * 62] * 4 + ["example"]), None),
    ],
)
def test_a_domain_has_a_dot_and_is_no_address(delivered: str, form: str | None) -> None:
    assert apply(canonical.domain, [delivered]) == [form]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.0.0.1", True),
        ("100.64.0.1", True),
        ("172.31.255.255", True),
        ("172.32.0.0", False),
        ("192.168.0.0/16", True),
        ("224.0.0.1", True),
        ("255.255.255.255", True),
        ("8.8.8.8", False),
        ("198.18.0.1", False),
        ("::1", True),
        ("fe80::/10", True),
        ("2001:db8::1", False),
        (None, False),
    ],
)
def test_an_address_that_the_internet_does_not_route_is_reserved(
    address: str | None, expected: bool
):
    frame = pl.DataFrame({"value": [address]}, schema={"value": pl.String})
    assert frame.select(canonical.reserved(pl.col("value"))).item() is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.b.co.uk", "b.co.uk"),
        ("co.uk", None),
        ("a.x.github.io", "x.github.io"),
        ("example.com", "example.com"),
        ("198.18.0.1", None),
        ("2001:db8::1", None),
    ],
)
def test_a_registered_domain_follows_the_public_suffix_list(name: str, expected: str | None):
    frame = pl.DataFrame({"value": [name]})
    assert frame.select(canonical.registered_domain(pl.col("value"))).item() == expected


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("198.18.0.1:80", "198.18.0.1", 80),
        ("2001:db8::5:40669", "2001:db8::5", 40669),
        ("[2001:db8::5]:22", "2001:db8::5", 22),
        ("198.18.0.1:99999", None, None),
        ("198.18.0.1:0", None, None),
        ("198.18.0.1", None, None),
        ("host.example:80", None, None),
    ],
)
def test_a_port_stands_behind_the_last_colon(text: str, address: str | None, port: int | None):
    frame = pl.DataFrame({"value": [text]})
    found = frame.select(canonical.address_and_port(pl.col("value"))).to_series()
    assert found.to_list() == [{"address": address, "port": port}]


@pytest.mark.parametrize(
    ("text", "expected", "kind"),
    [
        (" D41D8CD98F00B204E9800998ECF8427E ", "d41d8cd98f00b204e9800998ecf8427e", "md5"),
        ("a" * 40, "a" * 40, "sha1"),
        ("a" * 64, "a" * 64, "sha256"),
        ("a" * 63, None, None),
        ("g" * 64, None, None),
    ],
)
def test_a_hash_is_known_by_its_length(text: str, expected: str | None, kind: str | None):
    frame = pl.DataFrame({"value": [text]}).select(digest=canonical.digest(pl.col("value")))
    assert frame.item() == expected
    assert frame.select(canonical.digest_type(pl.col("digest"))).item() == kind


def test_mail_addresses_and_cves_have_one_form_each():
    frame = pl.DataFrame({"mail": ["Ann[at]Mail[.]Example", "ann"], "cve": ["cve-2025-4664", "x"]})
    found = frame.select(canonical.email(pl.col("mail")), canonical.cve(pl.col("cve")))
    assert found.rows() == [("ann@mail.example", "CVE-2025-4664"), (None, None)]
