"""What ends a run before its outcome is known, and a plugin before its time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from forgemesh.faults.portable import PortableError

if TYPE_CHECKING:
    from forgemesh.testing.outcome import Outcome


class WorkflowEnvironmentError(PortableError):
    """A workflow environment cannot go on; its text says what to change."""


class Refused(WorkflowEnvironmentError):
    """The engine refuses a definition or an input; `mistakes` names everything that is wrong, with line and column."""

    def __init__(self, subject: str, reason: str, message: str, mistakes: Sequence[str]) -> None:
        listed = "".join(f"\n  {mistake}" for mistake in mistakes)
        super().__init__(f"{subject} is refused ({reason}):{listed}" if mistakes else f"{subject}: {message}")
        self.reason = reason
        self.mistakes = tuple(mistakes)


class Unscripted(WorkflowEnvironmentError):
    """A step called what the script says nothing about."""


class Stuck(WorkflowEnvironmentError):
    """Nothing will ever happen any more and the execution has not ended; `outcome` is how it stands."""

    def __init__(self, message: str, outcome: Outcome) -> None:
        super().__init__(message)
        self.outcome = outcome


class PluginDidNotStart(PortableError):
    """A plugin's process ended before it served, or was not ready in time; `log` is what it wrote last."""

    def __init__(self, exit_code: int | None, patience: float, log: Sequence[str]) -> None:
        how = f"was not ready within {patience:g} s" if exit_code is None else f"ended with exit code {exit_code}"
        super().__init__(f"the plugin did not start: its process {how}{_said(log)}")
        self.exit_code = exit_code
        self.log = tuple(log)


class PluginEnded(PortableError):
    """A plugin's process ended while it was called; a negative `exit_code` is a signal's number."""

    def __init__(self, exit_code: int, log: Sequence[str]) -> None:
        how = f"was killed by signal {-exit_code}" if exit_code < 0 else f"ended with exit code {exit_code}"
        super().__init__(f"the plugin's process {how} during the call{_said(log)}")
        self.exit_code = exit_code
        self.log = tuple(log)


def _said(log: Sequence[str]) -> str:
    return "; it wrote:" + "".join(f"\n  | {line}" for line in log) if log else ", and wrote nothing"
