"""Changes of several steps that go on to their end: another configuration, new processes for old ones."""
