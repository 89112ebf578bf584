"""Performs what turns ask of the world outside their execution."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from forgemesh.chassis.containment import contained
from forgemesh.orchestrator.execution.effects import (
    ChildOrder,
    Effect,
    ForgetCall,
    HoldCalls,
    ReleaseCall,
    StartCall,
    StartChild,
    TakeBackCalls,
)
from forgemesh.orchestrator.execution.engine.calls import Calls, is_held
from forgemesh.orchestrator.execution.engine.children import Children
from forgemesh.orchestrator.execution.engine.concurrency_slots import ConcurrencySlots
from forgemesh.orchestrator.execution.engine.running import Running
from forgemesh.orchestrator.execution.state import ExecutionState, StepState
from forgemesh.orchestrator.workflow.definition import Child


class Executor:
    """Passes each effect on to whom it concerns."""

    def __init__(self, calls: Calls, children: Children, concurrency_slots: ConcurrencySlots) -> None:
        self.calls = calls
        self.children = children
        self.concurrency_slots = concurrency_slots

    def queued(self, running: Running, orders: Iterable[ChildOrder]) -> None:
        """A turn is in the queue of writes: its children's go there behind it."""
        self.children.follow(running, orders)

    def perform(self, running: Running, effect: Effect) -> None:
        """Once, in order, when the turn that asks for it is durable."""
        match effect:
            case StartCall(path, attempt):
                self._start_call(running, path, attempt)
            case StartChild(path, attempt):
                if _open(running, path, attempt) is not None:
                    self.children.start(running, path)
            case ReleaseCall(path, attempt):
                self.calls.released(running, path, attempt)
            case ForgetCall(path):
                self.calls.forget(running, path)
            case TakeBackCalls(path):
                self.calls.take_back(running, path)
            case HoldCalls(interrupt):
                self.calls.withhold(running)
                if interrupt:
                    self.calls.interrupt(running)
            case _:
                assert_never(effect)

    def _start_call(self, running: Running, path: str, attempt: int) -> None:
        """Unless what was decided since the attempt was written has ended it, or keeps it from leaving."""
        step = _open(running, path, attempt)
        if step is None:
            return
        if is_held(running.state, step):
            self.calls.turn_back(running, path)
        else:
            self.calls.start(running, step)

    def taken_up(self, running: Running, reopened: Iterable[str]) -> None:
        """
        An execution was taken up after a crash; children that it waits for are looked for again, and calls that had not
        been sent wait again.
        """
        self.concurrency_slots.taken_up(running)
        for path in reopened:
            step = running.state.open_attempts.get(path)
            if step is None:
                continue
            if isinstance(step.step, Child):
                self.children.start(running, path)
            elif is_held(running.state, step):
                self.calls.turn_back(running, path)
            else:
                self.calls.take_up(running, step)

    def dropped(self, running: Running) -> None:
        """An execution left the memory and will be taken up again."""
        self.calls.forget_all(running)

    def ended(self, running: Running) -> None:
        """An execution has ended, maybe with calls under way."""
        about = f"execution {running.name[1]}"
        with contained(f"what {about} had ordered"):
            self.calls.forget_all(running)
        with contained(f"the place of {about}"):
            self.concurrency_slots.withdraw(running.state)
        with contained(f"whoever waited for {about}"):
            self.children.ended(running)

    def undriven(self, running: Running) -> list[StepState]:
        """The steps whose open attempts nobody carries out: a bug, whatever it was."""
        return [step for step in running.state.open_attempts.values() if not self._is_driven(running, step)]

    def _is_driven(self, running: Running, step: StepState) -> bool:
        if isinstance(step.step, Child):
            return self.children.drives(running, step)
        return self.calls.drives(running, step)

    def healed(self, state: ExecutionState) -> None:
        """An execution that was taken for open had ended; those that wait for what it held go on."""
        self.concurrency_slots.withdraw(state)

    async def stop(self, grace: float) -> None:
        """Begin nothing more."""
        await self.calls.stop(grace)


def _open(running: Running, path: str, attempt: int) -> StepState | None:
    """The step, if that attempt at it is still open."""
    step = running.state.open_attempts.get(path)
    return step if step is not None and step.attempts == attempt else None
