"""What leaves the lake: block lists, tables and STIX bundles of indicators."""
