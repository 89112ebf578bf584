"""What became of calls, as far as it says something about the instance that served them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class Outcome(Enum):
    """What a call says about its instance."""

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

    `slow` calls are among the `succeeded`. `latencies` counts calls of up to 1 ms, 2 ms, 4 ms and so on, doubling; the
    last one is for all others.
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
