"""The forms of a workflow: its tree, as a message and as a text; and the JSON that values travel as."""
