"""SSLBL (abuse.ch): certificates of servers that command malware. A state feed without a key.

The hash is that of a certificate and not of a file: `certificate` says so of every record.
https://sslbl.abuse.ch/blacklist/
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from importlib.resources import files

import pandera.polars as pa
import polars as pl

from intel_assets.ingest.documents import Document, Window
from intel_assets.ingest.messages import HttpPolicy, Request
from intel_assets.lakehouse.contracts import Contract, Instant, RawRecord, field
from intel_assets.sources.snapshots import day_of, whole_day
from intel_assets.sources.spec import Aggregate, Context, SourceSpec
from intel_assets.threat import abusech, canonical
from intel_assets.threat.model import IndicatorRecord, describe

URL = "https://sslbl.abuse.ch/blacklist/sslblacklist.csv"
_FAMILY = r"^(.*?)(?:\s+(?:C&C|C2|malware distribution|MITM))?$"


class RawCertificate(RawRecord):
    """A certificate, as delivered."""

    listingdate: pl.String = field("When it was listed, UTC.")
    sha1: pl.String = field("SHA-1 of the certificate.")
    listingreason: pl.String = field("Why: the malware, and what the server does.")


class CertificateRecord(IndicatorRecord):
    """A certificate in a snapshot, typed."""

    indicator: pl.String = field("SHA-1 of the certificate.", source="sha1")
    raw_value: pl.String = field("SHA-1 as delivered.", source="sha1")
    indicator_type: pl.String = field("Always `sha1`.", source="sha1", isin=["sha1"])
    first_seen: Instant = field("When it was listed.", source="listingdate")
    threat: pl.String = field("What its server does.", source="listingreason", nullable=True)
    malware: pl.String = field("Malware family.", source="listingreason", nullable=True)
    certificate: pl.Boolean = field("Always true: it is no file.", source="sha1")

    class Config:
        """A record stands in a body once."""

        unique = ["day", "record_id", "known_from"]


class SslblDay(pa.DataFrameModel):
    """A snapshot of SSLBL in numbers."""

    day: pl.Date = field("Day of the snapshot (UTC).")
    certificates: pl.Int64 = field("Certificates.", ge=1)
    families: pl.Int64 = field("Distinct malware families.", ge=0)
    added: pl.Int64 = field("Certificates listed in the 30 days before.", ge=0)
    top_family: pl.String = field("The family with the most certificates.", nullable=True)


def extract(context: Context, window: Window) -> Iterator[Document]:
    """Ask for the list as it stands."""
    yield context.get(Request(URL), window)


def parse(document: Document) -> pl.LazyFrame:
    """Read the list: its header is a comment."""
    if document.path is None:
        raise ValueError("a document without a body cannot be parsed")
    found = abusech.read_csv(document.path, {}, "listingdate")
    return found.with_columns(day=pl.lit(day_of(document.fetch)))


def clean(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Type; the reason names the malware and what the server does."""
    digest = canonical.digest(pl.col("sha1"))
    reason = pl.col("listingreason").str.strip_chars()
    control = reason.str.contains(r"C&C$|C2$")
    return describe(
        raw,
        indicator=pl.when(canonical.digest_type(digest) == "sha1").then(digest),
        indicator_type=pl.lit("sha1"),
        raw_value=pl.col("sha1"),
        first_seen=abusech.moment("listingdate"),
        threat=pl.when(control).then(pl.lit("botnet_cc")).otherwise(reason),
        malware=reason.str.extract(_FAMILY).replace("", None),
        certificate=pl.lit(True),
    )


SPEC = SourceSpec(
    name="sslbl",
    domain="threat",
    title="SSLBL",
    description="SHA-1 hashes of the certificates that servers of malware show.",
    homepage="https://sslbl.abuse.ch/",
    licence="CC0 1.0",
    redistributable=True,
    owner="team:threat-intelligence",
    kind="state",
    look_back_days=0,
    start=date(2014, 5, 5),
    window_days=1,
    cadence="45 */6 * * *",
    late_days=0,
    stale_after=timedelta(days=14),
    policy=HttpPolicy(rate_per_second=1.0, max_bytes=64 << 20),
    trust=80,
    extract=extract,
    parse=parse,
    clean=clean,
    record_id=pl.col("sha1").str.to_lowercase(),
    covers=whole_day,
    raw=Contract("raw", "sslbl", RawCertificate, "SSLBL's list as delivered, by day."),
    cleaned=Contract("cleaned", "sslbl", CertificateRecord, "Certificates, typed."),
    aggregates=(
        Aggregate(
            Contract("aggregated", "sslbl_daily", SslblDay, "SSLBL in numbers, by day."),
            files("intel_assets.threat").joinpath("sql/sslbl_daily.sql").read_text("utf-8"),
        ),
    ),
)
