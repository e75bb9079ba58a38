"""Names to addresses: where a table, a layer, the landing and a tenant live in a lake.

One name, three places: the asset key `[layer, name]`, the SQL name `layer.name` and the path
`<lake>/<layer>/<name>`. Nothing here reads or writes a table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import obstore.store as stores

from intel_assets.errors import StorageError, UsageError
from intel_assets.lakehouse.storage import storage_errors

LAYERS = ("raw", "cleaned", "aggregated", "quarantine", "ops")

_SLUG = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Layout:
    """Where everything of one lake, or of one tenant in it, lives.

    Attributes:
        root: The lake: a local path or a URI (`s3://bucket/lake`).
        tenant: The tenant whose tables these are; None for the lake's own.
        storage_options: What deltalake and the object store need to reach a URI.
    """

    root: str
    tenant: str | None = None
    storage_options: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Make a local root absolute, and refuse a tenant that is no slug."""
        if self.tenant is not None and not _SLUG.fullmatch(self.tenant):
            raise UsageError(
                f"'{self.tenant}' is no tenant.", "Use small letters, digits and underscores."
            )
        root = self.root.removeprefix("file://").rstrip("/") or "/"
        object.__setattr__(self, "root", root if "://" in root else str(Path(root).absolute()))

    @property
    def is_local(self) -> bool:
        """Whether the lake is a folder of this machine."""
        return "://" not in self.root

    @property
    def base(self) -> str:
        """The root of the lake's own tables, or of the tenant's."""
        return self.root if self.tenant is None else f"{self.root}/tenants/{self.tenant}"

    @property
    def landing_uri(self) -> str:
        """Where bodies are kept as received."""
        return f"{self.base}/landing"

    def layer_uri(self, layer: str) -> str:
        """Return the root of a layer."""
        return f"{self.base}/{layer}"

    def table_uri(self, layer: str, name: str) -> str:
        """Return the address of a table.

        Raises:
            UsageError: If the layer is unknown or the name is no slug.
        """
        if layer not in LAYERS:
            raise UsageError(f"There is no layer '{layer}'.", f"Layers are {', '.join(LAYERS)}.")
        if not _SLUG.fullmatch(name):
            raise UsageError(
                f"'{name}' is no table name.", "Use small letters, digits and underscores."
            )
        return f"{self.base}/{layer}/{name}"

    def store(self, uri: str) -> stores.ObjectStore:
        """Return an object store rooted at an address of this lake; a folder is made if need be.

        Raises:
            StorageError: If there is something else than a folder, or it cannot be made.
        """
        if self.is_local:
            try:
                with storage_errors(uri):
                    return stores.LocalStore(uri, mkdir=True)
            except OSError as error:
                raise StorageError(
                    f"{uri} is no folder, and none can be made there.",
                    "Set INTEL_LAKE to a folder, or to a place for one.",
                ) from error
        options = dict(self._client_options())
        plain = options.pop("aws_allow_http", "false").lower() == "true"
        found: stores.ObjectStore = stores.from_url(  # type: ignore[call-overload]
            uri, config=options, client_options={"allow_http": plain}
        )
        return found

    def _client_options(self) -> Mapping[str, str]:
        scheme = urlsplit(self.root).scheme
        prefix = {"s3": "aws_", "az": "azure_", "abfss": "azure_", "gs": "google_"}.get(scheme, "")
        return {
            key.lower(): value
            for key, value in self.storage_options.items()
            if key.lower().startswith(prefix) and key.lower() != "aws_s3_allow_unsafe_rename"
        }
