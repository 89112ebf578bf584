"""A whole mesh on one machine: its data directory, its processes, and their life."""
