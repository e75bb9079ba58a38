"""MISP events as records: each attribute with what its event and its object say.

Attributes of many types name nothing that could be looked for (a text, a link, a Bitcoin address):
they stand in raw, and in quarantine with the reason. Where events come from is in misp_feed.py.
https://www.misp-project.org/datamodels/
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from intel_assets.errors import ParseError
from intel_assets.ingest import json_records
from intel_assets.lakehouse.contracts import Instant, RawRecord, Texts, field
from intel_assets.threat import canonical
from intel_assets.threat.model import TLP, IndicatorRecord, describe

COLUMNS = ("event_uuid", "event_date", "uuid", "type", "value")

# Numbers of the instance that exported it, what others proposed, and the file itself (`data`).
_LEFT_OUT = frozenset(
    ("id", "event_id", "object_id", "sharing_group_id", "disable_correlation", "batch_import")
    + ("Tag", "Galaxy", "ShadowAttribute", "SharingGroup", "Sighting", "RelatedAttribute", "data")
)
_DIGESTS = ("md5", "sha1", "sha256", "sha384", "sha512")
_FINGERPRINTS = (*_DIGESTS, "imphash", "pehash")
_KINDS = {
    **dict.fromkeys(("ip-src", "ip-dst"), "address"),
    **dict.fromkeys(("domain", "hostname", "onion-address"), "name"),
    **dict.fromkeys(("url", "uri"), "url"),
    **dict.fromkeys(("email", "email-src", "email-dst", "email-reply-to"), "email"),
    **dict.fromkeys(("target-email", "whois-registrant-email", "dns-soa-email"), "email"),
    **dict.fromkeys(_DIGESTS, "digest"),
    **{f"x509-fingerprint-{kind}": "digest" for kind in ("md5", "sha1", "sha256")},
    "imphash": "imphash",
    "pehash": "pehash",
    "ja3-fingerprint-md5": "ja3",
    "vulnerability": "cve",
    **dict.fromkeys(("filename", "email-attachment"), "filename"),
    "mutex": "mutex",
    "yara": "yara",
}
_SCOPES = {"tlp:white": "clear"} | {f"tlp:{scope}": scope for scope in TLP}
_MALWARE = (
    r"(?i)^misp-galaxy:(?:malpedia|(?:mitre-(?:[a-z]+-attack-)?)?malware|backdoor|banker|botnet|rat"
    r'|ransomware|stealer|tool)="(.+?)(?: - [SG][0-9]{4})?"$'
)
_TECHNIQUE = r'(?i)^misp-galaxy:mitre-.*attack-pattern=".*(T[0-9]{4}(?:\.[0-9]{3})?)"$'
_LAST_SECOND = 4_102_444_800  # 2100: a number beyond is no time in seconds
_QUOTED = 120


class RawAttribute(RawRecord):
    """An attribute of an event, as delivered, with what the event says.

    When the event was changed last is left out: every attribute of it would be another record then.
    """

    event_uuid: pl.String = field("The event.")
    event_date: pl.String | None = field("The event's day.", nullable=True)
    event_info: pl.String | None = field("What the event is about.", nullable=True)
    event_tags: pl.String | None = field("The event's tags, a JSON list.", nullable=True)
    event_link: pl.String | None = field("The first report that it links to.", nullable=True)
    threat_level_id: pl.String | None = field("1 high to 4 undefined.", nullable=True)
    orgc: pl.String | None = field("Who made the event.", nullable=True)
    object_uuid: pl.String | None = field("The object that it is part of.", nullable=True)
    object_name: pl.String | None = field("What that describes, such as a file.", nullable=True)
    object_relation: pl.String | None = field("What it is of the object.", nullable=True)
    object_hashes: pl.String | None = field(
        "The object's other hashes, a JSON list of `type:value`.", nullable=True
    )
    uuid: pl.String | None = field("The attribute.", nullable=True)
    type: pl.String | None = field("MISP's type.", nullable=True)
    category: pl.String | None = field("MISP's category.", nullable=True)
    value: pl.String | None = field(
        "The value; two with `|` between them for a composite type.", nullable=True
    )
    to_ids: pl.String | None = field("Whether it is meant for detection.", nullable=True)
    comment: pl.String | None = field("What is said of it.", nullable=True)
    deleted: pl.String | None = field("Whether it was taken back.", nullable=True)
    distribution: pl.String | None = field("How far MISP passes it on.", nullable=True)
    timestamp: pl.String | None = field("When it was changed last.", nullable=True)
    first_seen: pl.String | None = field("When it was first seen.", nullable=True)
    last_seen: pl.String | None = field("When it was last seen.", nullable=True)
    tags: pl.String | None = field("The attribute's tags, a JSON list.", nullable=True)


class AttributeRecord(IndicatorRecord):
    """An attribute of an event, typed and canonical."""

    indicator: pl.String = field("The value that detects, in canonical form.", source="value")
    raw_value: pl.String = field("The value as delivered.", source="value")
    indicator_type: pl.String = field("What it is.", source="type")
    first_seen: Instant = field(
        "When it was first seen; else when it was changed last; else the event's day.",
        source="first_seen",
    )
    last_seen: Instant = field("When it was last seen.", source="last_seen", nullable=True)
    threat: pl.String = field("MISP's category.", source="category", nullable=True)
    malware: pl.String = field(
        "The first malware that a galaxy's tag names.", source="tags", nullable=True
    )
    tags: Texts = field("Tags of the event and of the attribute.", source="tags", nullable=True)
    tlp: pl.String = field(
        "The narrowest scope among the attribute's own tags, else among the event's.",
        source="tags",
        nullable=True,
        isin=TLP,
    )
    reference: pl.String = field("The event's report.", source="event_link", nullable=True)
    detect: pl.Boolean = field("MISP's to_ids, and not deleted.", source="to_ids")
    event_uuid: pl.String = field("The event.", source="event_uuid")
    event_info: pl.String = field("What the event is about.", source="event_info", nullable=True)
    org: pl.String = field("Who made the event.", source="orgc", nullable=True)
    threat_level: pl.Int32 = field(
        "1 high, 2 medium, 3 low, 4 undefined.",
        source="threat_level_id",
        nullable=True,
        ge=1,
        le=4,
    )
    techniques: Texts = field("ATT&CK techniques.", source="tags", nullable=True)
    misp_type: pl.String = field("MISP's type.", source="type")
    object_name: pl.String = field("The object it is of.", source="object_name", nullable=True)
    port: pl.Int32 = field("The port of an `ip|port`.", source="value", nullable=True)
    filename: pl.String = field("The name beside a hash.", source="value", nullable=True)
    comment: pl.String = field("What is said of it.", source="comment", nullable=True)
    deleted: pl.Boolean = field("Whether it was taken back.", source="deleted")

    class Config:
        """A record stands in a body's day once."""

        unique = ["day", "record_id", "known_from"]


def events(path: Path) -> list[Mapping[str, Any]]:
    """Read an event, or events as MISP exports them.

    Raises:
        ParseError: If it is no JSON, or holds no event, or something else besides.
    """
    found = list(_unwrapped(json_records.load(path)))
    if not found:
        raise ParseError("line 1: there is no event in it")
    return found


def rows(event: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the records of an event: its attributes, and those of its objects."""
    own, objects = _children(event, "Attribute"), _children(event, "Object")
    every = [*own, *(one for each in objects for one in _children(each, "Attribute"))]
    links = (one.get("value") for one in every if one.get("type") == "link")
    told = {
        "event_uuid": event["uuid"],
        "event_date": event["date"],
        "event_info": event.get("info"),
        "event_tags": _tags(event),
        "event_link": next(links, None),
        "threat_level_id": event.get("threat_level_id"),
        "orgc": _object(event.get("Orgc") or {}).get("name"),
    }
    yield from (_row(one) | told for one in own)
    for each in objects:
        yield from (row | told for row in _of_object(each))


def clean(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Type and canonicalise by MISP's type; of a composite the part that detects is taken."""
    two, second = pl.col("_two"), pl.col("_second")
    own, of_event = pl.col("_own"), pl.col("_of_event")
    indicator, indicator_type = _canonical()
    behind = canonical.address(pl.when(two & (pl.col("_right") == "ip")).then(pl.col("_last")))
    port = pl.col("_last").cast(pl.Int32, strict=False)
    deleted = pl.col("deleted").is_in(["true", "1"]).fill_null(False)
    return describe(
        _divided(raw),
        indicator=indicator,
        indicator_type=indicator_type,
        raw_value=pl.col("value"),
        first_seen=pl.coalesce(_moment("first_seen"), _changed(), event_day()),
        last_seen=_moment("last_seen"),
        threat=pl.col("category"),
        malware=_all(_MALWARE).list.first(),
        tags=_some(pl.concat_list(of_event, own).list.unique(maintain_order=True)),
        tlp=pl.coalesce(_narrowest(own), _narrowest(of_event)),
        reference=pl.col("event_link"),
        also=_some(
            pl.concat_list(
                pl.concat_list(canonical.address_type(behind) + ":" + behind).list.drop_nulls(),
                _listed("object_hashes"),
            )
        ),
        detect=pl.col("to_ids").is_in(["true", "1"]).fill_null(False) & ~deleted,
        org=pl.col("orgc"),
        threat_level=pl.col("threat_level_id").cast(pl.Int32, strict=False),
        techniques=_some(_all(_TECHNIQUE).list.unique(maintain_order=True)),
        misp_type=pl.col("type"),
        port=pl.when(two & (pl.col("_right") == "port") & port.is_between(1, 65_535)).then(port),
        filename=pl.when(two & second & (pl.col("_left") == "filename")).then(pl.col("_first")),
        deleted=deleted,
    )


def event_day() -> pl.Expr:
    """Return the beginning of the event's day, which decides the partition."""
    found = pl.col("event_date").str.to_datetime("%Y-%m-%d", time_unit="us", strict=False)
    return found.dt.replace_time_zone("UTC")


def _unwrapped(body: object) -> Iterator[Mapping[str, Any]]:
    """Yield events that stand alone, in `Event`, or in a list of these, `response` or not."""
    found = body.get("response", body) if isinstance(body, Mapping) else body
    for one in found if isinstance(found, list) else [found]:
        event = _object(_object(one).get("Event", one))
        if not (event.get("uuid") and event.get("date")):
            raise _none(event)
        for each in (event, *_children(event, "Object")):
            _children(each, "Attribute")
        yield event


def _children(parent: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    listed = parent.get(name) or []
    if not isinstance(listed, list):
        raise _none(listed)
    return [_object(one) for one in listed]


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _none(value)
    return value


def _none(value: object) -> ParseError:
    start = json.dumps(value, ensure_ascii=False)[:_QUOTED]
    return ParseError(f"line 1: this is no event, or no part of one: {start}")


def _of_object(each: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    told = {"object_uuid": each.get("uuid"), "object_name": each.get("name")}
    listed = _children(each, "Attribute")
    hashes = list(dict.fromkeys(found for one in listed if (found := _hash(one))))
    for one in listed:
        row = _row(one) | told
        row["first_seen"] = row.get("first_seen") or each.get("first_seen")
        row["last_seen"] = row.get("last_seen") or each.get("last_seen")
        row["deleted"] = row.get("deleted") or each.get("deleted")
        if own := _hash(one):
            # An object is one file: it has a hash of each kind.
            row["object_hashes"] = [found for found in hashes if found != own][: len(_DIGESTS)]
        yield row


def _hash(attribute: Mapping[str, Any]) -> str | None:
    kind = str(attribute.get("type")).rpartition("|")[2]
    value = str(attribute.get("value")).rpartition("|")[2].strip().lower()
    good = kind in _DIGESTS and re.fullmatch("[0-9a-f]{32,128}", value)
    return f"{kind}:{value}" if good and not attribute.get("deleted") else None


def _row(attribute: Mapping[str, Any]) -> dict[str, Any]:
    own = {name: value for name, value in attribute.items() if name not in _LEFT_OUT}
    return own | {"tags": _tags(attribute), "object_hashes": None}


def _tags(tagged: Mapping[str, Any]) -> list[str] | None:
    names = [str(tag["name"]) for tag in _children(tagged, "Tag") if tag.get("name")]
    return names or None


def _divided(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Add what a type and a value are made of, and what can be read of the part that detects.

    Columns of their own: each is worked out once, not for each use.
    """
    types = pl.col("type").replace("malware-sample", "filename|md5").str.splitn("|", 2).struct
    pair = pl.col("value").str.extract_groups(r"(?s)^(.*)\|([^|]*)$").struct
    # Behind a file's name stands its hash; before an address's port, the address.
    second, left, right = pl.col("_second"), pl.col("_left"), pl.col("_right")
    of_two = pl.when(second).then(pl.col("_last")).otherwise(pl.col("_first"))
    kind = pl.when(second).then(right).otherwise(left)
    part = pl.col("_part")
    return (
        raw.with_columns(
            _left=types.field("field_0"),
            _right=types.field("field_1").fill_null(""),
            _first=pair.field("1"),
            _last=pair.field("2"),
            _own=_listed("tags"),
            _of_event=_listed("event_tags"),
        )
        .with_columns(
            _two=(right != "") & pl.col("_first").is_not_null(),
            _second=right.is_in(_FINGERPRINTS),
        )
        .with_columns(
            _part=pl.when(pl.col("_two")).then(of_two).otherwise(pl.col("value")),
            _kind=kind.replace_strict(_KINDS, default=None, return_dtype=pl.String),
        )
        .with_columns(
            _place=pl.coalesce(canonical.address(part), canonical.cidr(canonical.refang(part))),
            _digest=canonical.digest(part),
            _text=part.str.strip_chars(),
        )
    )


def _canonical() -> tuple[pl.Expr, pl.Expr]:
    """Return an indicator in canonical form, null where it cannot be, and its type."""
    kind, part, text = pl.col("_kind"), pl.col("_part"), pl.col("_text")
    place, digest = pl.col("_place"), pl.col("_digest")
    # Some write a path alone as a URI, and a path as a file's name.
    path = (pl.col("type") == "uri") & ~text.str.contains("://", literal=True)
    deep = (kind == "filename") & text.str.contains(r"[/\\]")
    whole = kind.is_in(["filename", "mutex", "yara"]) | path
    indicator = (
        pl.when(kind == "address")
        .then(place)
        .when(kind == "name")
        .then(canonical.domain(canonical.refang(part)))
        .when((kind == "url") & ~path)
        .then(canonical.urls(part).struct.field("url"))
        .when(kind == "email")
        .then(canonical.email(part))
        .when(kind == "digest")
        .then(digest)
        .when(kind == "cve")
        .then(canonical.cve(part))
        .when(kind.is_in(["imphash", "pehash", "ja3"]) & text.str.contains("^[0-9a-fA-F]{32,64}$"))
        .then(text.str.to_lowercase())
        .when(whole & (text != ""))
        .then(text)
    )
    indicator_type = (
        pl.when((kind == "address") & place.str.contains("/", literal=True))
        .then(pl.lit("cidr"))
        .when(kind == "address")
        .then(canonical.address_type(place))
        .when(kind == "name")
        .then(pl.lit("domain"))
        .when(kind == "digest")
        .then(canonical.digest_type(digest))
        .when(path)
        .then(pl.lit("uri"))
        .when(deep)
        .then(pl.lit("filepath"))
        .otherwise(kind)
    )
    return indicator, indicator_type


def _listed(name: str) -> pl.Expr:
    """Read a column of JSON lists; nothing is an empty one."""
    return pl.col(name).fill_null("[]").str.json_decode(pl.List(pl.String))


def _some(found: pl.Expr) -> pl.Expr:
    return pl.when(found.list.len() > 0).then(found)


def _all(pattern: str) -> pl.Expr:
    """Return what a pattern finds in the tags, the attribute's own first."""
    tags = pl.concat_list("_own", "_of_event")
    return tags.list.eval(pl.element().str.extract(pattern)).list.drop_nulls()


def _narrowest(tags: pl.Expr) -> pl.Expr:
    ranks = {tag: TLP.index(scope) for tag, scope in _SCOPES.items()}
    rank = tags.list.eval(
        pl.element().str.to_lowercase().replace_strict(ranks, default=None, return_dtype=pl.Int32)
    ).list.max()
    return rank.replace_strict(dict(enumerate(TLP)), default=None, return_dtype=pl.String)


def _moment(name: str) -> pl.Expr:
    """Read `2026-08-09T12:00:00.000000+00:00`, also with `Z`; else null."""
    text = pl.col(name).str.replace("Z$", "+00:00")
    found = text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%z", time_unit="us", strict=False)
    return found.dt.convert_time_zone("UTC")


def _changed() -> pl.Expr:
    seconds = pl.col("timestamp").cast(pl.Int64, strict=False)
    good = pl.when(seconds.is_between(1, _LAST_SECOND)).then(seconds)
    return (good * 1_000_000).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
