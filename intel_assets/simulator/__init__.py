"""A local HTTP server that plays every upstream API, faults included."""
