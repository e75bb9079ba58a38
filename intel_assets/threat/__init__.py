"""Threat intelligence: one file per source, then the tables over all of them."""
