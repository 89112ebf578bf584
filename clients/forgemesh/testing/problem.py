"""What ends a run before its outcome is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forgemesh.testing.outcome import Outcome


class RehearsalError(Exception):
    """A rehearsal cannot go on; its text says what to change."""


class Refused(RehearsalError):
    """The engine refuses a definition or an input; `mistakes` names everything that is wrong, with line and column."""

    def __init__(self, subject: str, reason: str, message: str, mistakes: Sequence[str]) -> None:
        listed = "".join(f"\n  {mistake}" for mistake in mistakes)
        super().__init__(f"{subject} is refused ({reason}):{listed}" if mistakes else f"{subject}: {message}")
        self.reason = reason
        self.mistakes = tuple(mistakes)


class Unscripted(RehearsalError):
    """A step called what the script says nothing about."""


class Stuck(RehearsalError):
    """Nothing will ever happen any more and the execution has not ended; `outcome` is how it stands."""

    def __init__(self, message: str, outcome: Outcome) -> None:
        super().__init__(message)
        self.outcome = outcome
