"""One attempt to be carried out, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, NamedTuple, Protocol, TypeAlias

import msgspec

from forgemesh.faults.service import ShuttingDown
from forgemesh.faults.workflow import ProcessFull, RetryBudgetSpent
from forgemesh.orchestrator.dispatch.dispatch import Dispatch
from forgemesh.orchestrator.dispatch.doubt import Doubt
from forgemesh.orchestrator.dispatch.ports import Answer
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.workflow.definition import Target, Timeouts
from forgemesh.orchestrator.workflow.provider import OperationFacts
from forgemesh.routing.pick import NoPick

RunKey: TypeAlias = tuple[str, str, str]
"""Namespace, execution id, and the run id that the first event names."""
CallKey: TypeAlias = tuple[RunKey, str]
"""
Of which execution, and the step's path. The run id is part of it, since a call of an execution that has ended may still
be taken back when another execution has got its id.
"""


class CallRequest(msgspec.Struct, kw_only=True, eq=False):
    """
    One attempt to be carried out; when it leaves for an instance, `idempotent` and `timeouts` change to what the
    manifest of that version says (`said`, None: not known), unless the step says so itself (`vouched`, `timed`).

    `deadline` of the execution and `close_at` of the step are Unix nanoseconds, 0 for none; both only bound the time
    that the plugin is given. Instances in `tried` are passed over if possible, calls of a higher `priority` go first,
    and equal `affinity` goes to the same instance ("" is none). `details` are what an earlier attempt last said;
    `idempotent` is whether a call is safe to repeat (None: nobody says), `retry` that an earlier attempt failed, and
    not for what happened to its instance. Of an attempt that was taken up again, `since` is when it began (Unix
    nanoseconds) and `blocked` why it waits by what is on record. `doubts` are where earlier attempts may have had their
    effect, as far as that matters for where it may go.
    """

    key: CallKey
    attempt: int
    target: Target
    timeouts: Timeouts
    input: Payload
    traceparent: str
    deadline: int = 0
    close_at: int = 0
    tried: frozenset[str] = frozenset()
    priority: int = 0
    affinity: str = ""
    details: Payload | None = None
    idempotent: bool | None = None
    retry: bool = False
    since: int = 0
    blocked: str = ""
    vouched: bool = False
    timed: bool = False
    doubts: frozenset[Doubt] = frozenset()
    said: OperationFacts | None = None

    @property
    def run(self) -> RunKey:
        """Whose it is."""
        return self.key[0]

    @property
    def path(self) -> str:
        """Of the step."""
        return self.key[1]


class Wanted(NamedTuple):
    """What calls wait for: a plugin or, if that is empty, an interface."""

    plugin_id: str
    interface: str


class Crowding(Enum):
    """Why a call waits for nothing that has to do with its target."""

    PROCESS_FULL = ProcessFull.reason
    RETRY_BUDGET_SPENT = RetryBudgetSpent.reason
    SHUTTING_DOWN = ShuttingDown.reason
    LEAVING = "LEAVING"


@dataclass(frozen=True, slots=True)
class Crowded:
    """This process has as many calls in flight as it may have; reads like a NoPick."""

    limit: int
    reason: Crowding = Crowding.PROCESS_FULL
    retry_after: float | None = None
    passes: ClassVar[bool] = True

    @property
    def message(self) -> str:
        """What happened and what to do about it."""
        return ProcessFull(self.limit).message


@dataclass(frozen=True, slots=True)
class HeldBack:
    """A plugin has as many retries under way as its policy allows; reads like a NoPick."""

    plugin: str
    retries: int
    reason: Crowding = Crowding.RETRY_BUDGET_SPENT
    retry_after: float | None = None
    passes: ClassVar[bool] = True

    @property
    def message(self) -> str:
        """What happened and what to do about it."""
        return RetryBudgetSpent(self.plugin, self.retries).message


@dataclass(frozen=True, slots=True)
class Leaving:
    """
    It could go, and was on record as blocked: that it is not any more has to be on record first, or else a crash would
    leave a call that was sent behind as one that was not. Reads like a NoPick.
    """

    reason: Crowding = Crowding.LEAVING
    retry_after: float | None = None
    message: str = "an instance can take it; it leaves once that is on record"
    passes: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Stopping:
    """This process sends nothing any more; the next one takes the attempt up. Reads like a NoPick."""

    reason: Crowding = Crowding.SHUTTING_DOWN
    retry_after: float | None = None
    message: str = ShuttingDown("the orchestrator").message
    passes: ClassVar[bool] = True


WaitReason: TypeAlias = NoPick | Crowded | HeldBack | Leaving | Stopping
"""Why a call waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """
    A call that has not left.

    `since` is when it came and `until` when it may go on (0: not known), in Unix nanoseconds; `position` counts those
    that wait for the same and go before it.
    """

    why: WaitReason
    since: int
    until: int
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Underway:
    """
    A call that an instance has; moments are Unix nanoseconds, 0 for never.

    `fraction` and `note` are the last progress that it told; `cancelling` since it was taken back.
    """

    dispatch: Dispatch
    since: int
    heard_at: int = 0
    fraction: float = 0.0
    note: str = ""
    cancelling: bool = False


class Listener(Protocol):
    """Is told what becomes of calls."""

    def answered(self, request: CallRequest, answer: Answer, where: Dispatch | None) -> None:
        """Exactly once for each request that is not forgotten; `where` it ran, None if it has not left."""

    def blocked(self, request: CallRequest, why: WaitReason) -> None:
        """It waits, for another reason than before. It has not left, and does not before `unblocked`."""

    def unblocked(self, request: CallRequest) -> None:
        """
        It may leave after all, once that is on record: the dispatcher is to be told `released` then.

        Told only if it was told to be blocked.
        """

    def broke(self, request: CallRequest, error: Exception, *, sent: bool) -> None:
        """A bug has ended the call; whether it was `sent`, or may have been. Nothing else is told of it."""

    def progressed(self, request: CallRequest, fraction: float, note: str, details: Payload | None) -> None:
        """How far it is, from 0 to 1; `details`, if it says any, are for the next attempt."""
