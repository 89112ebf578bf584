"""The forms of a workflow: its tree, as a message and as a text."""
