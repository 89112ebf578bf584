"""How much work a check by a schema may take, and how one ends that cannot be made; knows no jsonschema."""

from __future__ import annotations


class SchemaTooCostly(ValueError):
    """The check of this value by this schema goes beyond its allowance."""


class SchemaUnusable(ValueError):
    """The schema cannot be applied: it refers to what is elsewhere or without an end to itself, or breaks its rules."""


class Allowance:
    """Work that the checks may do that share it, in units of about a microsecond of a slow machine."""

    def __init__(self, units: int) -> None:
        self.left = units

    def spend(self, units: int) -> None:
        """Raises SchemaTooCostly."""
        self.left -= units
        if self.left < 0:
            raise SchemaTooCostly("the check takes too much work")
