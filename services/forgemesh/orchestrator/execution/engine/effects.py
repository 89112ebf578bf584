"""What durable events ask of the world outside an execution."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from forgemesh.chassis.containment import contained
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.engine.calls import Calls, is_held
from forgemesh.orchestrator.execution.engine.children import Children
from forgemesh.orchestrator.execution.engine.concurrency_slots import ConcurrencySlots
from forgemesh.orchestrator.execution.engine.running import Running
from forgemesh.orchestrator.execution.state import ExecutionState, StepState
from forgemesh.orchestrator.workflow.definition import Child


@dataclass(slots=True)
class Effects:
    """Passes each event on to whom it concerns."""

    calls: Calls
    children: Children
    concurrency_slots: ConcurrencySlots

    def act(self, running: Running, event: e.Event) -> None:
        """Once per event, in order, when it is durable."""
        fact = event.fact
        if isinstance(fact, e.AttemptStarted):
            self._begin(running, fact)
        elif isinstance(fact, e.AttemptFailed):
            if fact.dispatch is None:
                self.calls.forget(running, fact.path)
        elif isinstance(fact, e.StopRequested):
            self.calls.take_back(running, fact.path)
        elif isinstance(fact, e.PauseRequested):
            self._pause(running, fact)
        elif isinstance(fact, e.StepUnblocked):
            self.calls.released(running, fact)

    def _begin(self, running: Running, fact: e.AttemptStarted) -> None:
        """Unless what was decided since the attempt was written has ended it, or keeps it from leaving."""
        step = running.state.open_attempts.get(fact.path)
        if step is None or step.attempts != fact.attempt:
            return
        if fact.child_id:
            self.children.start(running, fact.path)
        elif is_held(running.state, step):
            self.calls.turn_back(running, fact.path)
        else:
            self.calls.start(running, step)

    def _pause(self, running: Running, fact: e.PauseRequested) -> None:
        self.calls.withhold(running)
        if fact.interrupt:
            self.calls.interrupt(running)

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
