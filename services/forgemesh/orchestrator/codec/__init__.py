"""Domain values and their messages, both ways."""
