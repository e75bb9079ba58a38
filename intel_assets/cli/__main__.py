"""`python -m intel_assets.cli` is `intel`."""

from intel_assets.cli import main

main()
