"""What is wrong with a request, collected before it is refused, so that all of it is said at once."""

from __future__ import annotations

from forgemesh.faults import Violation
from forgemesh.faults.service import InvalidRequest


class Violations:
    """Collects what does not hold."""

    def __init__(self) -> None:
        self._found: list[Violation] = []

    def unless(self, held: bool, field: str, message: str) -> None:
        """Note `message` against `field` if the condition does not hold."""
        if not held:
            self._found.append(Violation(field, message))

    def refuse(self) -> None:
        """Raise InvalidRequest if anything was noted."""
        if self._found:
            raise InvalidRequest(self._found)
