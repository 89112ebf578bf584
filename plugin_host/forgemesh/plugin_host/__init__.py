"""One process that serves one instance of one plugin."""
