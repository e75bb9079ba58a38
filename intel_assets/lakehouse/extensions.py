"""What DuckDB needs before it can read a lake: its own extensions, offline, a secret, an address.

Belongs here: making `delta` (and `httpfs`, for a lake at a URI) loadable by any DuckDB of this
version on this machine, from the packages that carry them into `~/.duckdb`; and which folders
Delta cannot use. Nothing here knows a table.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import duckdb

from intel_assets.errors import ConfigurationError
from intel_assets.lakehouse.layout import Layout

NAMES = ("delta", "httpfs")

_MISREAD = re.compile(r"%[0-9A-Fa-f]{2}|[\[\]\\^|\x00-\x1f\x7f\ud800-\udfff]")


def load(con: duckdb.DuckDBPyConnection, *names: str) -> None:
    """Load extensions into a connection; the first time, put them into `~/.duckdb` before.

    Several processes may do this at once: DuckDB moves an extension into place whole.

    Raises:
        ConfigurationError: If an extension is neither installed nor can be.
    """
    con.execute("SET autoinstall_known_extensions = false")
    # The bar would stand in the output of whoever is the first to load a large extension. In a
    # notebook without ipywidgets it is off, and DuckDB refuses to have it set.
    if con.execute("SELECT current_setting('enable_progress_bar')").fetchone() == (True,):
        con.execute("SET enable_progress_bar = false")
    for name in names:
        try:
            con.load_extension(name)
        except duckdb.Error:
            _install(con, name)


def install(*names: str) -> None:
    """Make extensions loadable by any DuckDB of this version that this user starts.

    Raises:
        ConfigurationError: If an extension is neither installed nor can be.
    """
    with duckdb.connect() as con:
        load(con, *names or NAMES)


def create_secret(con: duckdb.DuckDBPyConnection, layout: Layout) -> None:
    """Give a connection, in its memory only, what it needs to read a lake at a URI.

    Raises:
        ConfigurationError: If DuckDB cannot read such a lake, or not with these options.
    """
    scheme = urlsplit(layout.root).scheme
    if scheme not in ("s3", "s3a"):
        raise ConfigurationError(
            f"DuckDB cannot read a lake at {scheme}://.", "Use a folder or s3:// for SQL."
        )
    options = {key.lower(): value for key, value in layout.storage_options.items()}
    endpoint = urlsplit(options.get("aws_endpoint_url", options.get("aws_endpoint", "")))
    clauses = {
        "SCOPE": layout.root,
        "KEY_ID": options.get("aws_access_key_id", ""),
        "SECRET": options.get("aws_secret_access_key", ""),
        "SESSION_TOKEN": options.get("aws_session_token", ""),
        "REGION": options.get("aws_region", options.get("aws_default_region", "")),
        "ENDPOINT": endpoint.netloc,
        "URL_STYLE": "path" if endpoint.netloc else "",
        "USE_SSL": "false" if endpoint.scheme == "http" else "",
    }
    given = ", ".join(f"{key} {literal(value)}" for key, value in clauses.items() if value)
    try:
        con.execute(f"CREATE SECRET intel (TYPE s3, {given})")
    except duckdb.Error:
        raise ConfigurationError(  # DuckDB would quote the statement, and with it the key.
            "DuckDB refuses the storage options of this lake.",
            "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL.",
        ) from None


def address(uri: str) -> str:
    """Return where `delta_scan` finds a table: a bare path it reads as a URL, `%` and all."""
    return uri if "://" in uri else Path(uri).as_uri()


def check_folder(layout: Layout) -> None:
    """Refuse a folder in whose path Delta Lake would read some characters as others.

    Measured with every character: Delta unquotes `%20`, takes a backslash for a slash and dies of
    brackets. It follows links before, so that a link to such a folder does not help.

    Raises:
        ConfigurationError: If tables can neither be kept nor read there.
    """
    folder = Path(layout.base).resolve() if layout.is_local else ""
    found = _MISREAD.search(str(folder))
    if found:
        raise ConfigurationError(
            f"Delta Lake cannot keep tables in {str(folder)!r}: it misreads {found[0]!r}.",
            "Rename that folder, or set INTEL_LAKE to another.",
        )


def literal(text: str) -> str:
    """Quote a text as SQL does, where DuckDB binds no values: in views, comments and secrets."""
    return "'" + text.replace("'", "''") + "'"


def first_line(error: Exception, layout: Layout | None = None) -> str:
    """Return the first line of an error, with the keys among a lake's storage options masked."""
    line = str(error).strip().partition("\n")[0]
    for key, value in layout.storage_options.items() if layout else ():
        if value and any(word in key.lower() for word in ("key", "secret", "token", "password")):
            line = line.replace(value, "***")
    return line


def _install(con: duckdb.DuckDBPyConnection, name: str) -> None:
    # Forced, since an older or a damaged file may stand where this one belongs.
    from duckdb_extensions import import_extension

    refused: Exception | None = None
    try:
        import_extension(name, force_install=True, con=con)
    except (ImportError, OSError, RuntimeError, duckdb.Error) as error:
        refused = error  # Another process may have won the race: what counts is the load.
    try:
        con.load_extension(name)
    except duckdb.Error as error:
        why = str(refused or error).splitlines()[0]
        raise ConfigurationError(
            f"DuckDB {duckdb.__version__} cannot load its extension '{name}': {why}",
            f"Install duckdb-extension-{name}=={duckdb.__version__}, and let this user write "
            "~/.duckdb.",
        ) from None
