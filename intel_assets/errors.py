"""The errors of the product: what is wrong, and what to do about it.

Every failure that a person can act on is one of these. The exit codes of the `intel` command
hang on the branches of the tree. Programming mistakes stay ordinary exceptions.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Protocol


class IntelError(Exception):
    """A failure that a person can act on.

    Attributes:
        what: What is wrong, one sentence.
        do: What to do about it, one sentence; may be empty.
        exit_code: What the `intel` command exits with.
    """

    exit_code = 1

    def __init__(self, what: str, do: str = "") -> None:
        """Keep what is wrong and what to do."""
        super().__init__(f"{what} {do}".strip())
        self.what = what
        self.do = do

    def at(self, place: str) -> None:
        """Say in it where it happened."""
        self.what = f"{place}: {self.what}"
        self.args = (f"{self.what} {self.do}".strip(),)


class UsageError(IntelError):
    """The command or call was asked for something that makes no sense: exit code 2."""

    exit_code = 2


class ConfigurationError(IntelError):
    """A setting or a secret is missing or wrong: exit code 3."""

    exit_code = 3


class Evidence(Protocol):
    """What did arrive of a body that cannot be used, as the landing keeps it."""

    @property
    def sha256(self) -> str:
        """The digest under which the landing holds it."""

    @property
    def size(self) -> int:
        """How many bytes arrived."""

    @property
    def path(self) -> Path:
        """A local file that holds them."""


class UpstreamError(IntelError):
    """A source did not give what was asked: exit code 4.

    Attributes:
        url: The redacted address that was asked, or an empty string.
        status: The HTTP status of the last answer, or None when there was none.
        attempts: How many requests were made.
        started_at: When the first of them began, aware UTC, or None if none did.
        partial: The truncated or garbled body of the last answer, landed; None if none came.
    """

    exit_code = 4
    started_at: datetime | None = None
    partial: Evidence | None = None

    def __init__(
        self,
        what: str,
        do: str = "",
        *,
        url: str = "",
        status: int | None = None,
        attempts: int = 0,
    ) -> None:
        """Keep what is known of the request that failed."""
        super().__init__(what, do)
        self.url = url
        self.status = status
        self.attempts = attempts


class NotPublished(UpstreamError):
    """The source has nothing at that address: the day is not published, or not yet."""


class NoLongerAvailable(UpstreamError):
    """The source cannot be asked for that day any more; no request was made."""


class Unauthorized(UpstreamError):
    """The source refused the key (401, 402 or 403)."""


class UpstreamRefused(UpstreamError):
    """The source refused the request for another reason (any other 4xx): asking again is no use."""


class UpstreamUnavailable(UpstreamError):
    """The source could not be reached, or kept failing, and all attempts are used."""


class QuotaExhausted(UpstreamError):
    """The source's terms allow no more requests for now; no request was made."""


class HostUnavailable(UpstreamError):
    """The circuit of a host is open: it is not asked again before `retry_at`.

    Attributes:
        retry_at: When the next request will be let through, aware UTC.
    """

    def __init__(self, what: str, do: str = "", *, retry_at: datetime, url: str = "") -> None:
        """Keep when the next request will be let through."""
        super().__init__(what, do, url=url)
        self.retry_at = retry_at


class BodyTooLarge(UpstreamError):
    """A body is larger than the limit, packed or unpacked."""


class DataError(IntelError):
    """What was received cannot be used: exit code 5."""

    exit_code = 5


class ParseError(DataError):
    """A body is not what the source's parser understands: truncated, garbled or mislabelled."""


class ContractBroken(DataError):
    """Columns that a contract requires are missing or of another type."""


class PartitionRefused(DataError):
    """Too many rows of a partition break the contract: the partition is not written."""


class StorageError(IntelError):
    """The lake cannot be read or written: exit code 6."""

    exit_code = 6


class LakeReadOnly(StorageError):
    """The lake cannot be written by this user."""


class DiskFull(StorageError):
    """No space is left where the lake, or the spool of bodies under way, stands."""


class LakeTooNew(StorageError):
    """The lake was written by a newer version of this program."""


class LakeTooOld(StorageError):
    """The lake was written by an older version and wants `intel upgrade`."""


class RetentionPassed(StorageError):
    """The moment asked for lies before what the tables still hold."""


class WriteConflict(StorageError):
    """Other writers kept winning: the write was redone as often as allowed."""
