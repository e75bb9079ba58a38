"""What the product promises of its speed, measured: each benchmark against its own yardstick.

A yardstick runs in the same call on the same machine, so a bound is a ratio (or a difference) and
holds on slow machines too. Nothing here is imported by the product.
"""
