"""A workflow in a test: the real engine and store over plugins that a script plays, in a time that skips."""
