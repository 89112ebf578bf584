"""A call in the host: admitted, run and answered once."""
