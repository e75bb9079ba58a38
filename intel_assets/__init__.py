"""An intelligence lakehouse: outside sources kept as raw, cleaned and aggregated Delta tables."""

__version__ = "0.1.0"
