"""A world in which an execution runs: a store that may crash after any write, plugins and people at their whim."""

from __future__ import annotations

import json
import random
from collections import Counter

from forgemesh.faults import Fault
from forgemesh.faults.workflow import Cancelled
from forgemesh.orchestrator.dispatch.dispatch import Dispatch
from forgemesh.orchestrator.execution import control, decide, ending, facts as e, fold
from forgemesh.orchestrator.execution.attempts import failed, succeeded
from forgemesh.orchestrator.execution.forking import takeover
from forgemesh.orchestrator.execution.liveness import is_stuck
from forgemesh.orchestrator.execution.state import ExecutionState, StepState, StepStatus
from forgemesh.orchestrator.execution.trace.spans import ExecutionTrace, SpanFacts
from forgemesh.orchestrator.store.events import stored_event
from forgemesh.orchestrator.values.failure import Failure, failure_of
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.values.retry import SECOND
from forgemesh.orchestrator.workflow.definition import Call
from tests.unit.orchestrator.histories import DISPATCH, START, broken, host_lost, kept, picture, unavailable
from tests.unit.orchestrator.history_model import HistoryModel
from tests.unit.orchestrator.random_workflows import Author
from tests.unit.orchestrator.workflows import of_steps

MAX_ACTIONS = 3_000


class World:
    """Runs one seed to its end; whatever must not happen raises AssertionError."""

    def __init__(self, seed: int, *, may_fork: bool = True) -> None:
        self.draw = random.Random(seed)
        tree = Author(self.draw).definition()
        self.definition = of_steps(*tree.pop("steps"), **tree)
        self.state = ExecutionState("default", "e-1", self.definition)
        self.model = HistoryModel(self.definition)
        self.trace = ExecutionTrace("e-1", self.definition)
        self.spans: list[SpanFacts] = []
        self.now = START
        self.stored: list[bytes] = []
        self.events: list[e.Event] = []
        self.pending: list[list[e.Event]] = []
        self.flying: dict[str, int] = {}
        self.taken_back: set[str] = set()
        self.called: Counter[tuple[str, int]] = Counter()
        self.answered: list[tuple[str, int]] = []
        self.crashes = 0
        self.people = self.draw.random() < 0.5
        self.origin: World | None = None
        self.inherited: list[e.Fact] = []
        if may_fork and self.draw.random() < 0.1:
            self._fork(World(seed, may_fork=False))
        self.queued = self.draw.random() < 0.1
        self._turn(self._start(), *self.inherited)

    def _fork(self, origin: World) -> None:
        """Begin with what an ended execution of the same definition gives up, unless it has undone that."""
        origin.run()
        state = ExecutionState("default", "e-1", self.definition, remember=True)
        for event in origin.events:
            fold.apply(state, event)
        if state.status not in control.LEGAL[control.Action.FORK]:
            return
        rerun = [path for path in state.steps if self.draw.random() < 0.2]
        self.origin = origin
        self.inherited = takeover(state, state, self.definition, rerun, holders={})

    def _start(self) -> e.ExecutionStarted:
        timeout = self.definition.timeout
        given = Payload(json.dumps({"n": self.draw.randint(0, 9)}).encode())
        if self.origin is not None and self.origin.state.started is not None:
            given = self.origin.state.started.input
        return e.ExecutionStarted(
            workflow="w",
            workflow_version="1.0.0",
            content_hash=self.definition.content_hash,
            input=given,
            trace_id=b"t" * 16,
            deadline=START + int(timeout * SECOND) if timeout is not None else 0,
            concurrency_key="k" if self.queued else "",
            queued=self.queued,
        )

    def run(self) -> None:
        """To the end of the execution."""
        for _ in range(MAX_ACTIONS):
            if self.model.over:
                self._check_end()
                return
            self._act()
            if not self.pending:
                self._check_rest()
        raise AssertionError(f"it never ends: {self.state.status} {list(self.flying)} {decide.next_wake(self.state)}")

    def _act(self) -> None:
        chance = self.draw.random()
        if self.pending and chance < 0.55:
            self._commit()
        elif chance < 0.6:
            self._crash()
        elif chance < 0.66 and self.answered:
            self._answer_again()
        elif chance < 0.72 and self.people:
            self._interfere()
        elif chance < 0.75 and self.state.queued and not self.state.status.final:
            self._turn(e.ExecutionAdmitted())
        elif self.state.incidents and chance < 0.85:
            self._resolve()
        elif self.flying and chance < 0.95:
            self._answer(self.draw.choice(list(self.flying)))
        else:
            self._pass_time()

    def _turn(self, *facts: e.Fact | None) -> None:
        """What the engine does: fold, decide, and queue all of it as one write."""
        told = [fact for fact in facts if fact is not None]
        events = [decide.record(self.state, fact, self.now) for fact in told]
        events += decide.advance(self.state, self.now)
        if events:
            self.pending.append(events)
            self._queued(events)

    def _queued(self, events: list[e.Event]) -> None:
        """Nothing may happen before the write is durable."""

    def _commit(self) -> None:
        events = self.pending.pop(0)
        self._write(events)
        for event in events:
            self._effect(event)

    def _write(self, events: list[e.Event]) -> None:
        for event in events:
            self.model.enter(event)
            body, _ = stored_event(event)
            assert kept(body) == event
            self.stored.append(body)
            self.events.append(event)
            self.spans += self.trace.project(event)

    def _effect(self, event: e.Event) -> None:
        fact = event.fact
        if isinstance(fact, e.AttemptStarted):
            self.call(fact)
        elif isinstance(fact, e.AttemptFailed):
            if fact.dispatch is None and self.flying.get(fact.path) == fact.attempt:
                del self.flying[fact.path]
        elif isinstance(fact, e.StopRequested):
            self.taken_back |= {step.path for step in ending.open_below(self.state, fact.path)}
        elif isinstance(fact, e.PauseRequested) and fact.interrupt:
            self.taken_back |= {step.path for step in decide.in_flight(self.state)}

    def call(self, fact: e.AttemptStarted) -> None:
        """A plugin sees the attempt: what it follows from must be on record, and so must it."""
        assert self.model.open.get(fact.path) == fact.attempt, f"{fact.path} is called and not on record"
        self.called[fact.path, fact.attempt] += 1
        assert self.called[fact.path, fact.attempt] == 1, "an attempt is called twice"
        self.flying[fact.path] = fact.attempt

    def _answer(self, path: str) -> None:
        attempt = self.flying.pop(path)
        self.answered.append((path, attempt))
        step = self.state.open_attempts.get(path)
        child = step is not None and not isinstance(step.step, Call)
        self._tell(path, attempt, self._outcome(path), None if child else DISPATCH)

    def _outcome(self, path: str) -> Payload | Failure:
        chance = self.draw.random()
        if path in self.taken_back and chance < 0.7:
            self.taken_back.discard(path)
            return failure_of(Cancelled(path), step_path=path)
        if chance < 0.66:
            return Payload(json.dumps({"of": path}).encode())
        if chance < 0.78:
            return unavailable()
        return broken() if chance < 0.86 else host_lost()

    def _tell(self, path: str, attempt: int, outcome: Payload | Failure, dispatch: Dispatch | None) -> None:
        if isinstance(outcome, Payload):
            self._turn(succeeded(self.state, path, attempt, outcome, dispatch))
        else:
            self._turn(failed(self.state, path, attempt, outcome, dispatch, self.now, self.draw.random()))

    def _answer_again(self) -> None:
        """Networks repeat themselves; what was answered changes nothing any more."""
        path, attempt = self.draw.choice(self.answered)
        before = self.state.sequence
        step = self.state.open_attempts.get(path)
        if step is None or step.attempts != attempt:
            self._tell(path, attempt, Payload(b"1"), DISPATCH)

            assert self.state.sequence == before

    def _interfere(self) -> None:
        draw, state = self.draw, self.state
        request = draw.choice(["signal", "signal", "pause", "resume", "resume", "cancel", "block", "unblock"])
        try:
            if request == "signal":
                name = draw.choice(["go", "stop"])
                signal_id = draw.choice(["", "1", "2"])
                self._turn(*control.signal(state, e.SignalReceived(name, Payload(b"1"), signal_id)))
            elif request == "pause":
                self._turn(*control.pause(state, self._pause()))
            elif request == "resume":
                self._turn(*control.resume(state, "somebody"))
            elif request == "cancel" and draw.random() < 0.3:
                self._turn(*control.cancel(state, "somebody", ""))
            elif request == "block" and state.open_attempts:
                step = draw.choice(list(state.open_attempts.values()))
                self._turn(e.StepBlocked(step.path, step.attempts, "NONE_HEALTHY", "nobody is there"))
            elif request == "unblock" and state.open_attempts:
                step = draw.choice(list(state.open_attempts.values()))
                self._turn(e.StepUnblocked(step.path, step.attempts))
        except Fault:
            return

    def _pause(self) -> e.PauseRequested:
        return e.PauseRequested(interrupt=self.draw.random() < 0.5, hold_clock=self.draw.random() < 0.5)

    def _resolve(self) -> None:
        if self.state.status.final or self.state.cancel is not None or self.state.stopping is not None:
            return
        path = self.draw.choice(list(self.state.incidents))
        action = self.draw.choice(["retry", "complete", "fail"])
        payload = Payload(b"{}") if self.draw.random() < 0.5 else None
        self._turn(*control.resolve(self.state, path, action, payload, "somebody", ""))  # type: ignore[arg-type]

    def _pass_time(self) -> None:
        wake = decide.next_wake(self.state)
        if wake is not None:
            self.now = max(self.now, wake - self.draw.choice([0, 0, 1]))
        elif self.state.queued and not self.state.status.final:
            self._turn(e.ExecutionAdmitted())
        elif self.state.pause is not None:
            self._turn(*control.resume(self.state, "somebody"))
        elif self.state.listening and not self.flying and not self.pending:
            name = next(iter(self.state.listening))
            self._turn(*control.signal(self.state, e.SignalReceived(name, Payload(b"1"))))
        self._turn()

    def _crash(self) -> None:
        """Everything that was not written is gone; of what waits to be written, some may have been."""
        self.crashes += 1
        for _ in range(self.draw.randint(0, len(self.pending))):
            self._write(self.pending.pop(0))
        self.pending.clear()
        if self.model.over:
            return
        state = fold.fold("default", "e-1", self.definition, [kept(body) for body in self.stored])
        if not self.stored:
            self.state = ExecutionState("default", "e-1", self.definition)
            self._turn(self._start(), *self.inherited)
            return
        self.state, self.flying = state, {}
        self.taken_back.clear()
        events = decide.recovered(state, "o-2", 2, self.now, self.draw.random())
        reopened = {path: step.attempts for path, step in state.open_attempts.items() if self._stays(state, path)}
        events += decide.advance(state, self.now)
        self.flying = dict(reopened)
        self.called |= Counter(dict.fromkeys(reopened.items(), 1))
        self.pending.append(events)

    def _stays(self, state: ExecutionState, path: str) -> bool:
        """What nobody had sent, and what runs elsewhere."""
        step = state.open_attempts.get(path)
        return step is not None and (not isinstance(step.step, Call) or step.status is StepStatus.BLOCKED)

    def _check_rest(self) -> None:
        """Nothing waits to be written: what memory knows is what the store knows, and something can happen."""
        state = self.state
        if state.status.final:
            return
        assert not state.to_begin or state.pause or state.compensating or state.stopping or state.queued
        assert not is_stuck(state), "nothing will ever happen again"
        due = decide.next_wake(state)
        assert due is None or due > self.now, "it wakes again and again for nothing"
        assert set(state.open_attempts) == set(self.model.open)
        assert set(state.open_attempts) <= set(self.flying), "an attempt is open and nobody works on it"
        if self.draw.random() < 0.1:
            assert picture(fold.fold("default", "e-1", self.definition, self.events)) == picture(state)

    def _check_end(self) -> None:
        state = fold.fold("default", "e-1", self.definition, self.events)
        assert state.status.final
        assert all(_is_over(step) for step in state.steps.values())
        assert decide.next_wake(state) is None
        assert decide.advance(state, self.now) == []
        for left in (state.open_attempts, state.waiting, state.waits, state.incidents, state.wakes, state.listening):
            assert not left


def _is_over(step: StepState) -> bool:
    return step.status.final and step.ended_at >= step.began_at >= START
