"""How much the command says: set once, when its options are read."""

from __future__ import annotations

_chosen = 0


def set_verbosity(count: int) -> None:
    """Keep how often -v was given."""
    global _chosen
    _chosen = count


def verbosity() -> int:
    """Return how often -v was given."""
    return _chosen
