"""From the tree of a document to a definition, or to every mistake in it."""
