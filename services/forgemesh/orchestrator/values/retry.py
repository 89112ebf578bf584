"""When a failed step is tried again."""

from __future__ import annotations

from dataclasses import dataclass

from forgemesh.faults import Code
from forgemesh.orchestrator.values.failure import Failure

SECOND = 1_000_000_000

RETRYABLE = frozenset(
    {Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED, Code.ABORTED, Code.UNKNOWN, Code.INTERNAL}
)
PERMIT_REFUSED = "PERMIT_REFUSED"
"""A trial call that was not made: its step waits on behind the circuit, however often that happens."""
HOST_LOST = "HOST_LOST"
UNMADE = frozenset({PERMIT_REFUSED, "INSTANCE_RESERVED", "INSTANCE_DRAINING", "WRONG_INCARNATION"})
"""Reasons for which an instance did not begin the call, and it or another will: that takes as long as it takes."""
FAILOVER = frozenset({HOST_LOST, "ORCHESTRATOR_LOST"}) | UNMADE
"""Reasons that say something about where the call ran and nothing about the call."""
INTERRUPTED = "INTERRUPTED"
"""An attempt that a pause took back: it never counts."""
UNCOUNTED = FAILOVER | {INTERRUPTED}
"""Reasons after which the next try is no retry: the call itself has not failed."""
_LOST_ANYHOW = 2
"""Tries that may be lost even if there is to be only one: the first loss is nobody's fault."""
LONGEST_WISH = 86_400.0
"""Seconds that a failing side may ask us to wait."""


def was_put_off(failure: Failure) -> bool:
    """Whether the call was put off, or waited where its instance was lost: it cannot have been the cause of that."""
    return failure.reason in UNMADE or (failure.reason == HOST_LOST and failure.metadata.get("begun") == "false")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRule:
    """
    Exponential back-off with full jitter (AWS Architecture Blog, "Exponential Backoff and Jitter"); times in seconds.

    `max_attempts` counts all tries. A try that was lost with its host or orchestrator says nothing about the call and
    is counted apart: the first of those is made up for, the last of `max_attempts` is not, unless the next try is told
    there what its call has done. One that was put off never counts.
    """

    max_attempts: int = 3
    initial: float = 0.2
    coefficient: float = 2.0
    max_interval: float = 10.0
    non_retryable: frozenset[str] = frozenset()

    def delay(self, failure: Failure, counted: int, lost: int, draw: float) -> float | None:
        """
        Seconds until the next try, or None if there is none.

        `counted` and `lost` are the tries so far, this one included, those that were put off only if this one was;
        `draw` is a random number in [0, 1).
        """
        if failure.reason in self.non_retryable or not failure.retryable:
            return None
        if failure.reason in FAILOVER:
            if lost >= self._may_be_lost(failure) and not was_put_off(failure):
                return None
            return 0.0 if lost == 1 else self._backoff(lost - 1, draw)
        if counted >= self.max_attempts:
            return None
        return max(self._backoff(counted, draw), min(failure.retry_after, LONGEST_WISH))

    def _may_be_lost(self, failure: Failure) -> int:
        verdict = failure.reason == HOST_LOST and failure.metadata.get("refuses_poison") == "true"
        return max(_LOST_ANYHOW, self.max_attempts + verdict)

    def _backoff(self, tries: int, draw: float) -> float:
        exponent = min(tries - 1, 64)
        return min(self.max_interval, self.initial * self.coefficient**exponent) * draw
