"""Keeping secrets out of everything that people and files get to see.

Texts, addresses and log records go in, the same without secrets comes out. Nothing here knows
where a secret is kept.
"""

from __future__ import annotations

import base64
import html
import json
import logging
import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote_plus

_SHORTEST = 4
_SHORTEST_CORE = 8
_MASK = "***"
_USERINFO = re.compile(r"(?<=//)[^/?#\s]*@")
_PARAMETER = re.compile(r"(?P<before>[?&;#])(?P<name>[^=&;#?\s]+)=(?P<value>[^&;#\s]*)")
_KEY_WORD = re.compile(
    r".*(key|token|secret|password|signature)"
    r"|pwd|pass|passwd|passphrase|sig|auth|authorization|credentials?|jwt|bearer|sid|session(id)?"
)
_PLAIN_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class Redactor:
    """Replaces secrets in texts by their names."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        """Learn the secrets.

        Args:
            secrets: Name to value. Values of fewer than 4 characters are left alone in texts:
                replacing every `a` would hide nothing and spoil everything.
        """
        # The longest first: one secret may stand in another.
        ordered = sorted(secrets.items(), key=lambda item: len(item[1]), reverse=True)
        forms = [(form, f"***{name}***") for name, value in ordered for form in _forms(value)]
        self._names = [name for _, name in forms]
        pattern = "|".join(f"({form})" for form, _ in forms)
        self._pattern = re.compile(pattern, re.IGNORECASE) if forms else None

    def text(self, text: str) -> str:
        """Return the text with every secret replaced by `***NAME***`, however it is encoded."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda found: self._names[(found.lastindex or 1) - 1], text)

    def url(self, url: str) -> str:
        """Return the address without secrets, user info and the values of key-like parameters."""
        url = _USERINFO.sub(f"{_MASK}@", self.text(url))
        return _PARAMETER.sub(_mask_parameter, url)


class RedactingFilter(logging.Filter):
    """Scrubs log records: message, arguments, traceback and extra fields.

    Put it on handlers, not on loggers: a logger's filter does not see its children's records.
    """

    def __init__(self, redactor: Redactor) -> None:
        """Keep the redactor."""
        super().__init__()
        self._redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        """Scrub a record in place; every record passes."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):
            # Arguments that do not fit their message must not take the secret along.
            message = f"{record.msg} {record.args}"
        record.msg = self._redactor.text(message)
        record.args = None
        if record.exc_info and record.exc_info[0] is not None and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        # A formatter further on would write the traceback itself again.
        record.exc_info = None
        record.exc_text = self._redactor.text(record.exc_text) if record.exc_text else None
        record.stack_info = self._redactor.text(record.stack_info) if record.stack_info else None
        for name, value in vars(record).items():
            if name not in _PLAIN_RECORD:
                setattr(record, name, self._scrub(value))
        return True

    def _scrub(self, value: object) -> object:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return self._redactor.text(value)
        if isinstance(value, Mapping):
            return {self._scrub(name): self._scrub(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._scrub(inner) for inner in value]
        # Something else is kept as it is unless its text would show a secret.
        shown = repr(value)
        scrubbed = self._redactor.text(shown)
        return value if scrubbed == shown else scrubbed


def _mask_parameter(found: re.Match[str]) -> str:
    name = found["name"]
    words = re.split(r"[^a-z0-9]+", unquote_plus(name).lower())
    if any(_KEY_WORD.fullmatch(word) for word in words):
        return f"{found['before']}{name}={_MASK}"
    return found[0]


def _forms(secret: str) -> Iterator[str]:
    """Yield patterns for every way in which a secret may be written."""
    for value in {secret, secret.strip()}:
        if len(value) < _SHORTEST:
            continue
        # Character by character, since each writer encodes others of them, and some do it twice.
        # No two ways may match the same text, or a near miss would take exponential time; so a
        # run of backslashes, which escaping lengthens, counts as one.
        yield "".join(_character(character) for character in re.sub(r"\\+", r"\\", value))
        data = value.encode("utf-8", "surrogatepass")
        for packed in {base64.b64encode(data), base64.urlsafe_b64encode(data)}:
            yield re.escape(packed.decode().rstrip("=")) + "=*"
        yield from _inside_base64(data)


def _character(character: str) -> str:
    """Return a pattern for one character: plain, or as URLs, JSON, Python or HTML escape it."""
    if character == "\\":
        return r"(?:\\{1,8}|%(?:25){0,3}5c|&#(?:0*92|x0*5c);)"
    data = character.encode("utf-8", "surrogatepass")
    units = character.encode("utf-16-be", "surrogatepass")
    ways = [
        rf"\\{{0,4}}{re.escape(character)}",
        "".join(f"%(?:25){{0,3}}{byte:02x}" for byte in data),
        "".join(rf"\\{{1,4}}u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)),
        "".join(rf"\\{{1,4}}x{byte:02x}" for byte in data),
        f"&#(?:0*{ord(character)}|x0*{ord(character):x});",
    ]
    if ord(character) > 0x7F:
        ways.append(rf"\\{{1,4}}(?:x{ord(character):02x}|U{ord(character):08x})")
    if html.escape(character) != character:
        ways.append(html.escape(character))
    if character == " ":
        ways.append(r"\+")
    if not character.isprintable():
        # JSON and Python have short names for some, as \n.
        short = json.dumps(character)[1:-1]
        ways += [rf"\\{{1,4}}{short[1]}"] if len(short) == 2 else []
    return f"(?:{'|'.join(ways)})"


def _inside_base64(data: bytes) -> Iterator[str]:
    """Yield patterns for base64 of a longer text that contains the secret, as `user:key`."""
    for shift in range(3):
        # Only the characters that depend on the secret alone: the first and last may not.
        packed = base64.b64encode(b"\0" * shift + data)
        first = -(-shift * 8 // 6)
        last = (shift + len(data)) * 8 // 6
        core = packed[first:last].decode()
        if len(core) >= _SHORTEST_CORE:
            safe = core.replace("+", "-").replace("/", "_")
            for form in {core, safe}:
                # The whole run goes; it is looked at from its start only, which keeps this linear.
                yield rf"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]*{re.escape(form)}[A-Za-z0-9+/_-]*=*"
