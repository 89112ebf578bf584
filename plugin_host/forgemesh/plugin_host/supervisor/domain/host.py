"""A supervised plugin host as a value: where it stands, why, and what may come next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

FIRST_BACKOFF = 0.2
LONGEST_BACKOFF = 10.0
PROVEN_AFTER = 60.0
"""Seconds of being ready after which earlier failures are forgotten."""


class State(Enum):
    """Where a host stands."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"
    BACKOFF = "backoff"


_LEGAL = {
    State.STOPPED: {State.STARTING, State.BACKOFF},
    State.STARTING: {State.READY, State.DRAINING, State.BACKOFF},
    State.READY: {State.DRAINING, State.BACKOFF},
    State.DRAINING: {State.STOPPED},
    State.BACKOFF: {State.STARTING, State.STOPPED, State.BACKOFF},
}


class IllegalTransition(Exception):
    """A host cannot go from here to there."""

    def __init__(self, instance_id: str, state: State, wanted: State) -> None:
        super().__init__(f"{instance_id} is {state.value} and cannot become {wanted.value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """
    One instance over its restarts. Times are seconds of one clock; 0 means never, and `pid` 0 that no process runs.

    `failures` counts the exits that nobody asked for since it last proved itself by being ready for a while.
    """

    instance_id: str
    name: str
    load: str
    state: State = State.STOPPED
    reason: str = ""
    pid: int = 0
    restarts: int = 0
    failures: int = 0
    started_at: float = 0.0
    ready_at: float = 0.0
    next_start_at: float = 0.0

    def started(self, pid: int, now: float) -> Host:
        """Its process runs."""
        restarts = self.restarts + (self.state is State.BACKOFF)
        return replace(
            self._to(State.STARTING, ""), pid=pid, restarts=restarts, started_at=now, ready_at=0.0, next_start_at=0.0
        )

    def ready(self, now: float) -> Host:
        """It serves and is registered."""
        return replace(self._to(State.READY, ""), ready_at=now)

    def late(self, reason: str) -> Host:
        """It runs and has not become ready in the usual time."""
        return replace(self, reason=reason) if self.state is State.STARTING else self

    def failed(self, reason: str, now: float, jitter: float) -> Host:
        """It ended by itself, or did not start; the next start comes after full-jitter back-off, `jitter` in [0, 1)."""
        proven = self.ready_at and now - self.ready_at >= PROVEN_AFTER
        failures = 1 if proven else self.failures + 1
        wait = jitter * min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** min(failures - 1, 30))
        return replace(
            self._to(State.BACKOFF, reason), pid=0, failures=failures, ready_at=0.0, next_start_at=now + wait
        )

    def draining(self) -> Host:
        """It was told to stop."""
        return self._to(State.DRAINING, "it was told to stop")

    def stopped(self, reason: str) -> Host:
        """It has ended as it was told to."""
        return replace(self._to(State.STOPPED, reason), pid=0, ready_at=0.0, next_start_at=0.0)

    def _to(self, state: State, reason: str) -> Host:
        if state not in _LEGAL[self.state]:
            raise IllegalTransition(self.instance_id, self.state, state)
        return replace(self, state=state, reason=reason)
