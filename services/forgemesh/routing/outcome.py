"""What became of calls, as far as it says something about the instance that served them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import ceil
from typing import NamedTuple

from forgemesh.faults import Code
from forgemesh.faults.plugin import (
    InputInvalid,
    InstanceDraining,
    InstanceReserved,
    OperationNotFound,
    OutputInvalid,
    PermitRefused,
    PluginCrashLoop,
    PluginException,
    Poison,
    ProtocolUnsupported,
    WrongIncarnation,
)
from forgemesh.faults.routing import AllFull, BalancerWarming, CircuitOpen, NoneHealthy, NotRegistered

LATENCIES = 20
"""Bounds of CallCounts.latencies: the last but one counts calls of up to 2**18 ms, about four minutes."""
_BY_FAULT_OF_THE_INSTANCE = frozenset({Code.UNAVAILABLE, Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS})
_NOTHING_RAN = frozenset(
    fault.reason
    for fault in (
        *(InstanceDraining, WrongIncarnation, PermitRefused, OperationNotFound, InputInvalid, ProtocolUnsupported),
        *(InstanceReserved, Poison),
        *(NotRegistered, NoneHealthy, CircuitOpen, AllFull, PluginCrashLoop, BalancerWarming),
    )
) | {"ORCHESTRATOR_LOST"}
"""Refusals by a sound instance, or by whoever looked for one: whatever their code, they say nothing about it."""

_BY_AUTHORS_CODE = frozenset((PluginException.reason, OutputInvalid.reason))
"""The process is sound, and told what its author's code came to: the input may be the cause, or the instance."""


class Outcome(Enum):
    """What a call says about its instance."""

    __hash__ = object.__hash__  # that of Enum is a call of Python, for every step

    OK = "ok"
    SLOW = "slow"
    FAILURE = "failure"
    OVERLOAD = "overload"
    IGNORED = "ignored"


class PermitUse(Enum):
    """What became of a permit so far; RETURNED says that no call was made, or that it says nothing."""

    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RETURNED = "returned"


class PermitOutcome(NamedTuple):
    """`remaining` (seconds) is how long a trial call that has started may run."""

    permit_id: str
    use: PermitUse
    failure: CallFailure | None = None
    remaining: float = 0.0


def classify(
    code: Code,
    *,
    reason: str = "",
    took: float,
    slow_call: float,
    given: float | None = None,
    sent: bool = True,
    count_exceptions: bool = False,
) -> Outcome:
    """
    What a call that ended after `took` seconds says about the instance it was sent to.

    `code` and `reason` are how it ended, `given` the seconds that it was given (None: as long as it took). An answer
    that only tells the caller of the caller's mistake is a success of the instance; one that took `slow_call` (0: none
    is slow) or longer is a slow one. A call that ran out of less time than that says nothing, as do one that the caller
    took back, one that was never `sent`, and, unless `count_exceptions`, one in which the author's code raised what it
    did not declare.
    """
    if not sent or code is Code.CANCELLED or reason in _NOTHING_RAN:
        return Outcome.IGNORED
    if reason in _BY_AUTHORS_CODE and not count_exceptions:
        return Outcome.IGNORED
    if code in _BY_FAULT_OF_THE_INSTANCE:
        return Outcome.FAILURE
    if code is Code.RESOURCE_EXHAUSTED:
        return Outcome.OVERLOAD
    if code is Code.DEADLINE_EXCEEDED:
        had = took if given is None else given
        return Outcome.FAILURE if had >= slow_call else Outcome.IGNORED
    return Outcome.SLOW if 0 < slow_call <= took else Outcome.OK


class CountKey(NamedTuple):
    """What calls are counted by: `generation` is that of the instance's circuit when the call was sent."""

    plugin_id: str
    instance_id: str
    incarnation: int
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFailure:
    """A failure as the cause of an open circuit: `code` is a canonical gRPC code, `traceparent` that of the attempt."""

    code: int
    reason: str = ""
    message: str = ""
    traceparent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCounts:
    """
    All calls of one caller by one CountKey, since the caller started; every count but `failures_in_a_row` only grows.

    `slow` calls are among the `succeeded`. `latencies` counts calls that succeeded within 1 ms, 2 ms, 4 ms and so on,
    doubling; the last one is for all others. A difference of two such accounts, or the sum of differences, has the same
    form: there `last_failure` is None if none failed.
    """

    started: int = 0
    succeeded: int = 0
    failed: int = 0
    slow: int = 0
    overloaded: int = 0
    ignored: int = 0
    failures_in_a_row: int = 0
    last_failure: CallFailure | None = None
    latencies: tuple[int, ...] = ()

    def plus(self, outcome: Outcome, seconds: float, failure: CallFailure | None = None) -> CallCounts:
        """A call ended after `seconds`; `failure` goes with Outcome.FAILURE."""
        tally = CallCounter(self)
        tally.ended(outcome, seconds, failure)
        return tally.counts()

    def since(self, earlier: CallCounts) -> CallCounts:
        """
        What was added after `earlier`, of the same caller; nothing where the account does not grow.

        All failures of a difference are in a row if nothing succeeded in it, else those after the last success.
        """
        succeeded = max(0, self.succeeded - earlier.succeeded)
        failed = max(0, self.failed - earlier.failed)
        return CallCounts(
            started=max(0, self.started - earlier.started),
            succeeded=succeeded,
            failed=failed,
            slow=min(succeeded, max(0, self.slow - earlier.slow)),
            overloaded=max(0, self.overloaded - earlier.overloaded),
            ignored=max(0, self.ignored - earlier.ignored),
            failures_in_a_row=min(failed, self.failures_in_a_row) if succeeded else failed,
            last_failure=self.last_failure if failed else None,
            latencies=_added(self.latencies, earlier.latencies, -1),
        )

    def then(self, later: CallCounts) -> CallCounts:
        """Two differences in one, of one caller or of several, `later` being the one that arrived later."""
        return CallCounts(
            started=self.started + later.started,
            succeeded=self.succeeded + later.succeeded,
            failed=self.failed + later.failed,
            slow=self.slow + later.slow,
            overloaded=self.overloaded + later.overloaded,
            ignored=self.ignored + later.ignored,
            failures_in_a_row=later.failures_in_a_row + (0 if later.succeeded else self.failures_in_a_row),
            last_failure=later.last_failure or self.last_failure,
            latencies=_added(self.latencies, later.latencies, 1),
        )


class CallCounter:
    """Counts of calls, written at each of them: CallCounts, for whoever makes the calls."""

    __slots__ = (
        "_latencies",
        "failed",
        "failures_in_a_row",
        "ignored",
        "last_failure",
        "overloaded",
        "slow",
        "started",
        "succeeded",
    )

    def __init__(self, counts: CallCounts | None = None) -> None:
        begin = counts or CallCounts()
        self.started = begin.started
        self.succeeded = begin.succeeded
        self.failed = begin.failed
        self.slow = begin.slow
        self.overloaded = begin.overloaded
        self.ignored = begin.ignored
        self.failures_in_a_row = begin.failures_in_a_row
        self.last_failure = begin.last_failure
        self._latencies = [*begin.latencies, *[0] * (LATENCIES - len(begin.latencies))]

    def ended(self, outcome: Outcome, seconds: float, failure: CallFailure | None = None) -> None:
        """A call ended after `seconds`; `failure` goes with Outcome.FAILURE."""
        if outcome is Outcome.OK or outcome is Outcome.SLOW:
            self.succeeded += 1
            self.slow += outcome is Outcome.SLOW
            self.failures_in_a_row = 0
            self._latencies[latency_bound(seconds)] += 1
        elif outcome is Outcome.FAILURE:
            self.failed += 1
            self.failures_in_a_row += 1
            self.last_failure = failure
        elif outcome is Outcome.OVERLOAD:
            self.overloaded += 1
        else:
            self.ignored += 1

    def counts(self) -> CallCounts:
        """The account as it stands."""
        latencies = self._latencies
        used = len(latencies)
        while used and not latencies[used - 1]:
            used -= 1
        return CallCounts(
            started=self.started,
            succeeded=self.succeeded,
            failed=self.failed,
            slow=self.slow,
            overloaded=self.overloaded,
            ignored=self.ignored,
            failures_in_a_row=self.failures_in_a_row,
            last_failure=self.last_failure,
            latencies=tuple(latencies[:used]),
        )


def latency_bound(seconds: float) -> int:
    """Where in CallCounts.latencies a call of this many seconds is counted."""
    return min(LATENCIES - 1, max(0, ceil(seconds * 1000) - 1).bit_length())


def _added(one: tuple[int, ...], other: tuple[int, ...], sign: int) -> tuple[int, ...]:
    """Both, place by place; what one of them does not have is 0, and so is what would be less."""
    longest = max(len(one), len(other))
    pairs = zip(one + (0,) * (longest - len(one)), other + (0,) * (longest - len(other)), strict=True)
    return tuple([max(0, mine + sign * theirs) for mine, theirs in pairs])
