"""All instances of one supervisor: which of them may start, how many there are, and which plugins are loaded."""
