"""Metadata: what materializations and assets tell in the UI. Dagster concept: metadata and tags.

https://docs.dagster.io/guides/build/assets/metadata-and-tags
"""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from intel_assets.lakehouse.contracts import Contract
from intel_assets.lakehouse.layout import Layout
from intel_assets.sources.goldsql import sql_type
from intel_assets.sources.results import DayResult, LayerResult


def column_schema(contract: Contract) -> dg.TableSchema:
    """Return a table's columns as Dagster shows them."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name,
                type=sql_type(dtype),
                description=contract.descriptions[name],
                constraints=dg.TableColumnConstraints(nullable=contract.nullable(name)),
                tags={} if contract.classes[name] == "public" else {contract.classes[name]: ""},
            )
            for name, dtype in contract.schema.items()
        ]
    )


def column_lineage(contract: Contract, *upstream: dg.AssetKey) -> dg.TableColumnLineage:
    """Return from which columns of the assets before it a table's columns are made."""
    return dg.TableColumnLineage(
        {
            name: [dg.TableColumnDep(asset_key=key, column_name=source) for key in upstream]
            for name, source in contract.sources.items()
        }
    )


def of_partition(
    layer: LayerResult, day: DayResult, layout: Layout
) -> Mapping[str, dg.MetadataValue]:
    """Return what a materialization of a source's partition tells."""
    rejected = {"rejected": dg.MetadataValue.int(day.rejected)} if layer.layer == "cleaned" else {}
    return {**of_layer(layer), **rejected}


def of_layer(layer: LayerResult, *, whole: bool = False) -> Mapping[str, dg.MetadataValue]:
    """Return what a materialization tells; numbers are plotted over partitions.

    Args:
        layer: How the partition stands.
        whole: Whether it is the whole table.
    """
    rows = "dagster/row_count" if whole else "dagster/partition_row_count"
    found: dict[str, dg.MetadataValue] = {
        rows: dg.MetadataValue.int(layer.rows),
        "delta_version": dg.MetadataValue.int(layer.delta_version),
        "written": dg.MetadataValue.bool(layer.written),
    }
    return found | {name: dg.MetadataValue.int(value) for name, value in layer.numbers.items()}


def of_table(contract: Contract, layout: Layout) -> Mapping[str, object]:
    """Return what an asset's definition tells of its table."""
    return {
        "dagster/table_name": f"{contract.layer}.{contract.name}",
        "dagster/uri": layout.table_uri(contract.layer, contract.name),
        "dagster/column_schema": column_schema(contract),
        **({"partition_expr": "day"} if contract.partition_by == ("day",) else {}),
    }
