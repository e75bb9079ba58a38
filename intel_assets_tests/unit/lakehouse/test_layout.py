"""Where things live in a lake."""

from __future__ import annotations

from pathlib import Path

import obstore
import pytest

from intel_assets.errors import UsageError
from intel_assets.lakehouse.layout import LAYERS, Layout


def test_one_name_is_one_place(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    assert layout.table_uri("raw", "urlhaus") == f"{tmp_path}/raw/urlhaus"
    assert layout.layer_uri("raw") == f"{tmp_path}/raw"
    assert layout.landing_uri == f"{tmp_path}/landing"
    assert layout.is_local


@pytest.mark.parametrize("root", ["lake", "./lake", "lake/", "lake//"])
def test_a_local_root_becomes_absolute(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Layout(root).root == str(tmp_path / "lake")
    assert Layout(root) == Layout(str(tmp_path / "lake"))


def test_a_file_uri_is_a_local_path(tmp_path: Path) -> None:
    assert Layout(f"file://{tmp_path}") == Layout(str(tmp_path))
    assert Layout("/").root == "/"


def test_a_uri_stays_as_it_is() -> None:
    layout = Layout("s3://bucket/lake/")
    assert layout.root == "s3://bucket/lake"
    assert not layout.is_local
    assert layout.table_uri("cleaned", "urlhaus") == "s3://bucket/lake/cleaned/urlhaus"


def test_a_tenant_s_tables_and_bodies_live_below_its_own_root(tmp_path: Path) -> None:
    tenant = Layout(str(tmp_path), tenant="acme_2")
    assert tenant.base == f"{tmp_path}/tenants/acme_2"
    assert tenant.table_uri("raw", "urlhaus") == f"{tmp_path}/tenants/acme_2/raw/urlhaus"
    assert tenant.landing_uri == f"{tmp_path}/tenants/acme_2/landing"
    assert Layout(str(tmp_path)).base == str(tmp_path)


@pytest.mark.parametrize("name", ["", "..", "a/b", "Acme", "1a", "a-b", "a b", "a\n", "ä", "_a"])
def test_a_name_that_is_no_slug_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="small letters"):
        Layout(str(tmp_path), tenant=name)
    with pytest.raises(UsageError, match="small letters"):
        Layout(str(tmp_path)).table_uri("raw", name)


def test_an_unknown_layer_is_refused_with_those_there_are(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    with pytest.raises(UsageError, match="Layers are raw, cleaned, aggregated, quarantine, ops"):
        layout.table_uri("bronze", "urlhaus")
    assert all(layout.table_uri(layer, "a") for layer in LAYERS)


def test_a_store_is_rooted_at_its_address(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path / "lake"))
    obstore.put(layout.store(layout.landing_uri), "a/b", b"x")
    assert (tmp_path / "lake" / "landing" / "a" / "b").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("root", "options", "kept"),
    [
        (
            "s3://bucket",
            {"AWS_REGION": "eu", "aws_s3_allow_unsafe_rename": "true", "TIMEOUT": "3"},
            {"aws_region": "eu"},
        ),
        ("az://box", {"AZURE_STORAGE_ACCOUNT_NAME": "me", "aws_region": "eu"}, None),
        ("gs://bucket", {"google_service_account": "me"}, {"google_service_account": "me"}),
    ],
)
def test_a_store_gets_the_options_of_its_own_kind(
    root: str, options: dict[str, str], kept: dict[str, str] | None
) -> None:
    expected = kept or {"azure_storage_account_name": "me"}
    assert Layout(root, storage_options=options)._client_options() == expected


def test_a_bucket_s_store_can_be_made_without_asking_it() -> None:
    options = {"AWS_REGION": "eu", "AWS_ALLOW_HTTP": "true", "AWS_ENDPOINT": "http://127.0.0.1:9"}
    store = Layout("s3://bucket/lake", storage_options=options).store("s3://bucket/lake/landing")
    assert type(store).__name__ == "S3Store"
