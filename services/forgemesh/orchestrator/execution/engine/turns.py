"""What those who perform an execution's effects may ask of the engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.decide import NOTHING
from forgemesh.orchestrator.execution.engine.running import Running


class Turns(Protocol):
    """One execution's turns; see engine.Engine."""

    @property
    def stopping(self) -> bool:
        """Whether nothing begins any more in this process."""

    def turn(self, running: Running, facts: Iterable[e.Fact]) -> list[e.Event]:
        """Fold what happened with what follows from it, and queue both as one write; raises AfterEnd."""

    def go_on(self, running: Running) -> None:
        """Take up an execution that was expected to arrive, unless it was."""

    def broke(self, running: Running, error: Exception, unsent: Mapping[str, int] = NOTHING) -> None:
        """A bug has interrupted what is done for it; `unsent` are attempts by path that had not been sent."""
