"""The registry: which plugins exist, which instances serve them, and whose lease is still valid."""
