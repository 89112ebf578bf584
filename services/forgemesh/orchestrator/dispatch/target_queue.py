"""The calls that wait for the same, and what they wait for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from forgemesh.orchestrator.dispatch.call_request import CallKey, WaitReason
from forgemesh.orchestrator.dispatch.deadlines import Alarm
from forgemesh.orchestrator.dispatch.fair_queue import FairQueue
from forgemesh.orchestrator.dispatch.router import Route

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class TargetQueue(Generic[T]):
    """
    The calls that wait for the same, for all of which `why` is the reason, since `since` (Unix nanoseconds).

    `noticed`: that is on record. `wake` rings when the reason may be over by itself. `ahead`: so many of those on
    record as blocked are told together that they may leave, the more have left since somebody could not.
    """

    route: Route
    queue: FairQueue[CallKey, T]
    why: WaitReason | None = None
    since: int = 0
    noticed: bool = False
    alarm: Alarm | None = None
    wake: Alarm | None = None
    ahead: int = 1
