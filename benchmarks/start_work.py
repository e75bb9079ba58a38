"""The two contenders of the start benchmark: `python -m benchmarks.start_work dagster|definitions`.

Each is a whole process, measured from outside; there is nothing to do but to load.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    if sys.argv[1] == "definitions":
        from intel_assets.definitions import defs

        defs().get_repository_def()
    else:
        import dagster  # noqa: F401
    print("{}")
