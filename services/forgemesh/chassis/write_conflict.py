"""A write that contradicts what is stored."""


class WriteConflict(Exception):
    """What it names is there already, or what it follows is not: nothing of it was kept, whichever database said so."""
