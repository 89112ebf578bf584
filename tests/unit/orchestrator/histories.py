"""Executions driven by hand: what a store and an executor would do, without either."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TypeVar

from forgemesh.faults import Code
from forgemesh.faults.workflow import Cancelled, HostLost
from forgemesh.orchestrator.dispatch.dispatch import Dispatch
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.attempts import failed, succeeded
from forgemesh.orchestrator.execution.decide import advance, record, recovered
from forgemesh.orchestrator.execution.ending import open_below
from forgemesh.orchestrator.execution.fold import fold
from forgemesh.orchestrator.execution.state import ExecutionState, Scope, Status, StepState
from forgemesh.orchestrator.store.events import event_from_stored, opened
from forgemesh.orchestrator.values.failure import Failure, failure_of
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.values.retry import SECOND
from forgemesh.orchestrator.workflow.definition import Definition

F = TypeVar("F")

START = 1_764_000_000 * SECOND
DISPATCH = Dispatch(instance_id="i-1", incarnation=7, plugin_version="1.0.0", at=START)


def unavailable(**facts: object) -> Failure:
    known: dict[str, object] = {"code": Code.UNAVAILABLE, "reason": "AWAY", "message": "away", "retryable": True}
    return Failure(**(known | facts))  # type: ignore[arg-type]


def broken(reason: str = "BROKEN") -> Failure:
    return Failure(Code.INVALID_ARGUMENT, reason, "does not work")


def host_lost() -> Failure:
    return failure_of(HostLost("i-1", accepted=True), retryable=True)


def kept(body: bytes, record: str = "event") -> e.Event:
    """What the store would make of a record without large payloads."""
    return event_from_stored(opened(body, record), {}, record)


class History:
    """One execution: its state, and all events in the order in which they would have been committed."""

    def __init__(
        self,
        definition: Definition,
        given: object = None,
        facts: Iterable[e.Fact] = (),
        origin: e.Origin | None = None,
        execution_id: str = "e-1",
        *,
        queued: bool = False,
    ) -> None:
        """`facts` come with the start."""
        self.definition = definition
        self.state = ExecutionState("default", execution_id, definition)
        self.events: list[e.Event] = []
        self.now = START
        timeout = definition.timeout
        started = e.ExecutionStarted(
            workflow=definition.name,
            workflow_version=definition.version,
            content_hash=definition.content_hash,
            input=Payload(json.dumps({} if given is None else given).encode()),
            trace_id=b"t" * 16,
            deadline=START + int(timeout * SECOND) if timeout is not None else 0,
            origin=origin,
            run_id=f"run-of-{execution_id}",
            queued=queued,
        )
        self.turn(started, *facts)

    def turn(self, *facts: e.Fact | None) -> list[e.Event]:
        """Fold facts in, with what follows from them, as one commit."""
        events = [record(self.state, fact, self.now) for fact in facts if fact is not None]
        events += advance(self.state, self.now)
        self.events += events
        return events

    def succeed(self, path: str, output: object = None, *, attempt: int | None = None) -> list[e.Event]:
        payload = output if isinstance(output, Payload) else Payload(json.dumps(output).encode())
        return self.turn(succeeded(self.state, path, attempt or self.step(path).attempts, payload, DISPATCH))

    def fail(self, path: str, failure: Failure, *, attempt: int | None = None, draw: float = 0.5) -> list[e.Event]:
        number = attempt or self.step(path).attempts
        return self.turn(failed(self.state, path, number, failure, DISPATCH, self.now, draw))

    def block(self, path: str, reason: str = "NONE_HEALTHY") -> list[e.Event]:
        return self.turn(e.StepBlocked(path, self.step(path).attempts, reason, "no instance"))

    def unblock(self, path: str) -> list[e.Event]:
        return self.turn(e.StepUnblocked(path, self.step(path).attempts))

    def wait(self, seconds: float) -> list[e.Event]:
        self.now += int(seconds * SECOND)
        return self.turn()

    def take_back(self, events: Iterable[e.Event]) -> None:
        """What the executor does once `events` are committed: open attempts of what is stopping are cancelled."""
        for stop in facts_of(events, e.StopRequested):
            for step in open_below(self.state, stop.path):
                self.fail(step.path, failure_of(Cancelled(step.path), step_path=step.path))

    def crash(self, draw: float = 0.5) -> list[e.Event]:
        """Another process takes the execution up from what was committed."""
        self.state = self.refolded()
        events = recovered(self.state, "o-2", 2, self.now, draw)
        events += advance(self.state, self.now)
        self.events += events
        return events

    def refolded(self) -> ExecutionState:
        return fold("default", self.state.execution_id, self.definition, self.events)

    def step(self, path: str) -> StepState:
        return self.state.steps[path]

    def statuses(self) -> dict[str, str]:
        return {path: step.status.value for path, step in self.state.steps.items()}

    @property
    def open(self) -> list[str]:
        return list(self.state.open_attempts)

    @property
    def output(self) -> object:
        assert self.state.status is Status.SUCCEEDED, self.state.failure
        assert self.state.output is not None
        return json.loads(self.state.output.data)

    @property
    def reason(self) -> str:
        assert self.state.status.final
        assert self.state.failure is not None
        return self.state.failure.reason

    def facts(self, kind: type[F]) -> list[F]:
        return facts_of(self.events, kind)

    def kinds(self) -> list[str]:
        return [type(event.fact).__name__ for event in self.events]


def facts_of(events: Iterable[e.Event], kind: type[F]) -> list[F]:
    return [event.fact for event in events if isinstance(event.fact, kind)]


def picture(state: ExecutionState) -> dict[str, object]:
    """Everything that a state knows, as values that can be compared."""
    return {
        "execution": (
            state.status,
            state.sequence,
            state.started,
            state.started_at,
            state.ended_at,
            state.last_at,
            state.output,
            state.failure,
            state.stopping,
            state.ended,
            state.queued,
        ),
        "steps": [_picture_of_step(step) for step in state.steps.values()],
        "scopes": [_picture_of_scope(scope) for scope in state.scopes.values()],
        "to_begin": [(path, scope.path, index) for path, (scope, index) in state.to_begin.items()],
        "to_settle": list(state.to_settle),
        "open": list(state.open_attempts),
        "waiting": list(state.waiting),
        "waits": list(state.waits),
        "incidents": list(state.incidents),
        "ready": list(state.ready),
        "to_skip": list(state.to_skip),
        "to_set": list(state.to_set),
        "signals": {name: [sequence for sequence, _ in found] for name, found in state.signals.items()},
        "undoable": [step.path for step in state.undoable],
        "pause": (state.pause, state.rests, state.paused_at, state.held_at, state.deadline, state.compensating),
        "asked": (state.pause_asked, state.resumed, state.cancels, dict(state.resolved)),
        "wakes": list(state.wakes),
    }


def _picture_of_step(step: StepState) -> tuple[object, ...]:
    own_output = (
        None if step.branches is not None else step.output
    )  # a group's is worked out when it is first asked for
    return (
        step.path,
        step.status,
        step.scope.path,
        (step.began_at, step.ended_at, step.next_at),
        (step.attempts, step.lost),
        (step.input, own_output, step.failure, step.dispatch),
        (step.blocked, step.blocked_at),
        (step.verdict, step.merged),
        (step.branch_names, step.stopping, step.skipped, step.taken, step.doubtful, step.idle, step.astray),
        _picture_of_branches(step),
    )


def _picture_of_scope(scope: Scope) -> tuple[object, ...]:
    group = scope.group.path if scope.group is not None else None
    outer = scope.outer.path if scope.outer is not None else None
    return scope.path, group, outer, scope.open, scope.vars, [step.path for step in scope.begun.values()]


def _picture_of_branches(step: StepState) -> object:
    branches = step.branches
    if branches is None:
        return None
    counts = branches.count, branches.next, branches.open, branches.succeeded, branches.skipped, branches.tolerated
    return counts, list(branches.outputs), branches.failures
