"""What a stored span and a trace are, and how long they are kept."""
