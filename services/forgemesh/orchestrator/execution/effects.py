"""
What facts ask of the world outside an execution, as values: a turn works them out, and somebody performs them.

Orders to children take effect as soon as the turn is in the queue of writes, in the order of that queue; everything
else once the turn is durable. They are structs for the reason for which facts are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import msgspec

from forgemesh.orchestrator.execution import facts as e


class StartCall(msgspec.Struct, frozen=True):
    """An attempt at a call may leave."""

    path: str
    attempt: int


class StartChild(msgspec.Struct, frozen=True):
    """An attempt at a workflow step needs its execution."""

    path: str
    attempt: int


class ReleaseCall(msgspec.Struct, frozen=True):
    """That an attempt is not blocked any more is on record."""

    path: str
    attempt: int


class ForgetCall(msgspec.Struct, frozen=True):
    """The end of an attempt was decided without its call."""

    path: str


class TakeBackCalls(msgspec.Struct, frozen=True):
    """The open calls at and below a group ("" is all of the execution) are to end early."""

    path: str


class HoldCalls(msgspec.Struct, frozen=True):
    """A pause has begun: what has not left stays; with `interrupt`, what has left is to end early."""

    interrupt: bool


Effect: TypeAlias = StartCall | StartChild | ReleaseCall | ForgetCall | TakeBackCalls | HoldCalls


class StopChildren(msgspec.Struct, frozen=True):
    """The children that steps at and below a group ("" is all of the execution) wait for are let go."""

    path: str


class CutChildren(msgspec.Struct, frozen=True):
    """The execution was terminated, and does not wait for its children's ends."""


class PauseChildren(msgspec.Struct, frozen=True):
    """Children pause with their parent."""

    pause: e.PauseRequested


class ResumeChildren(msgspec.Struct, frozen=True):
    """What the parent's pause or its queue held may go on; `by` whom, if anybody asked for it."""

    by: str


ChildOrder: TypeAlias = StopChildren | CutChildren | PauseChildren | ResumeChildren


def effects_of(events: Iterable[e.Event]) -> list[Effect]:
    """What is to be done once these events are durable, in order."""
    effects: list[Effect] = []
    for event in events:
        make = _EFFECTS.get(type(event.fact))
        if make is not None:
            effects += make(event.fact)
    return effects


def child_orders_of(events: Iterable[e.Event]) -> list[ChildOrder]:
    """What the children hear of these events, in order."""
    return [_ORDERS[type(event.fact)](event.fact) for event in events if type(event.fact) in _ORDERS]


def unsent_in(effects: Iterable[Effect]) -> dict[str, int]:
    """The attempts at calls, by step path, that would leave by these effects."""
    return {effect.path: effect.attempt for effect in effects if type(effect) is StartCall}


def _attempt_started(fact: e.AttemptStarted) -> tuple[Effect]:
    return ((StartChild if fact.child_id else StartCall)(fact.path, fact.attempt),)


def _attempt_failed(fact: e.AttemptFailed) -> tuple[Effect, ...]:
    return (ForgetCall(fact.path),) if fact.dispatch is None else ()


_EFFECTS: Mapping[type, Callable[[Any], tuple[Effect, ...]]] = {
    e.AttemptStarted: _attempt_started,
    e.AttemptFailed: _attempt_failed,
    e.StopRequested: lambda fact: (TakeBackCalls(fact.path),),
    e.PauseRequested: lambda fact: (HoldCalls(fact.interrupt),),
    e.StepUnblocked: lambda fact: (ReleaseCall(fact.path, fact.attempt),),
}

_ORDERS: Mapping[type, Callable[[Any], ChildOrder]] = {
    e.StopRequested: lambda fact: StopChildren(fact.path),
    e.ExecutionFailed: lambda fact: CutChildren(),
    e.PauseRequested: PauseChildren,
    e.ExecutionResumed: lambda fact: ResumeChildren(fact.by),
    e.ExecutionAdmitted: lambda fact: ResumeChildren(""),
}
