"""What a source is, which sources there are, and the way of a source's data through the lake."""
