"""Performs what turns ask of the world outside their execution."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from forgemesh.chassis.containment import contained
from forgemesh.orchestrator.dispatch.call_request import RunKey
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
from forgemesh.orchestrator.execution.engine.families import Families
from forgemesh.orchestrator.execution.engine.running import Running
from forgemesh.orchestrator.execution.explain import Explanation, explain
from forgemesh.orchestrator.execution.state import StepState
from forgemesh.orchestrator.workflow.definition import Child


class Executor:
    """Passes each effect on to whom it concerns."""

    def __init__(
        self, calls: Calls, children: Children, families: Families, concurrency_slots: ConcurrencySlots
    ) -> None:
        self._calls = calls
        self._children = children
        self._families = families
        self._concurrency_slots = concurrency_slots

    def joined(self, running: Running) -> None:
        """An execution is in memory, or is about to be taken up."""
        self._families.joined(running)

    def left(self, running: Running) -> None:
        """It is not any more."""
        self._families.left(running)

    def start_written(self, running: Running) -> None:
        """Its first write is not under way any more, whether it was written or not."""
        self._families.written(*running.name)

    def settle_in(self, running: Running, *, fresh: bool) -> None:
        """It is about to be acted upon for the first time here; `fresh`: it was written just now."""
        self._children.settle_in(running, fresh=fresh)

    def arrived(self, running: Running) -> None:
        """It was written just now, and has done what follows at once."""
        if running.state.queued:
            self._concurrency_slots.arrived(running)

    def queued(self, running: Running, orders: Iterable[ChildOrder]) -> None:
        """A turn is in the queue of writes: its children's go there behind it."""
        self._children.follow(running, orders)

    def perform(self, running: Running, effect: Effect) -> None:
        """Once, in order, when the turn that asks for it is durable."""
        match effect:
            case StartCall(path, attempt):
                self._start_call(running, path, attempt)
            case StartChild(path, attempt):
                self._start_child(running, path, attempt)
            case ReleaseCall(path, attempt):
                self._calls.released(running, path, attempt)
            case ForgetCall(path):
                self._calls.forget(running, path)
            case TakeBackCalls(path):
                self._calls.take_back(running, path)
            case HoldCalls(interrupt):
                self._calls.withhold(running)
                if interrupt:
                    self._calls.interrupt(running)
            case _:
                assert_never(effect)

    def _start_call(self, running: Running, path: str, attempt: int) -> None:
        """Unless what was decided since the attempt was written has ended it, or keeps it from leaving."""
        step = running.state.open_attempts.get(path)
        if step is None or step.attempts != attempt:
            return
        if is_held(running.state, step):
            self._calls.turn_back(running, path)
        else:
            self._calls.start(running, step)

    def _start_child(self, running: Running, path: str, attempt: int) -> None:
        step = running.state.open_attempts.get(path)
        if step is not None and step.attempts == attempt:
            self._children.start(running, path)

    def taken_up(self, running: Running, reopened: Iterable[str]) -> None:
        """
        An execution was taken up after a crash; children that it waits for are looked for again, and calls that had not
        been sent wait again.
        """
        self._concurrency_slots.taken_up(running)
        for path in reopened:
            step = running.state.open_attempts.get(path)
            if step is None:
                continue
            if isinstance(step.step, Child):
                self._children.start(running, path)
            elif is_held(running.state, step):
                self._calls.turn_back(running, path)
            else:
                self._calls.take_up(running, step)

    def unsent(self, running: Running) -> dict[str, int]:
        """Attempts at calls by step path that wait here and have not been sent."""
        return self._calls.unsent(running)

    def dropped(self, running: Running) -> None:
        """An execution left the memory and will be taken up again."""
        self._calls.forget_all(running)

    def ended(self, running: Running) -> None:
        """An execution has ended, maybe with calls under way."""
        about = f"execution {running.name[1]}"
        with contained(f"what {about} had ordered"):
            self._calls.forget_all(running)
        with contained(f"the place of {about}"):
            self._concurrency_slots.withdraw(running.state)
        with contained(f"whoever waited for {about}"):
            self._children.ended(running)

    def undriven(self, running: Running) -> list[StepState]:
        """The steps whose open attempts nobody carries out: a bug, whatever it was."""
        return [step for step in running.state.open_attempts.values() if not self._is_driven(running, step)]

    def _is_driven(self, running: Running, step: StepState) -> bool:
        if isinstance(step.step, Child):
            return self._children.drives(running, step)
        return self._calls.drives(running, step)

    def stray(self) -> list[RunKey]:
        """What has calls although it is not in memory."""
        return self._calls.stray()

    def forget_run(self, run: RunKey) -> None:
        """Nobody waits for its calls."""
        self._calls.forget_run(run)

    def leaked_slots(self) -> int:
        """Places of executions that are not open; must be 0 once all were taken up."""
        return self._concurrency_slots.leaked()

    def explain(self, running: Running, now: int) -> Explanation:
        """Why an execution does not move at `now` (Unix nanoseconds)."""
        known = {**self._calls.explain(running), **self._families.explain(running)}
        ahead = self._concurrency_slots.ahead_of(running.state)
        return explain(running.state, now, known, "", ahead, self._concurrency_slots.holders_of(running.state))

    async def stop(self, grace: float) -> None:
        """Begin nothing more."""
        await self._calls.stop(grace)
