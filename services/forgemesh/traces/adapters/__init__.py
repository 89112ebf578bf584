"""Where the store keeps its spans."""
