"""What has to happen next: facts that follow from the state and the time, and from nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from forgemesh.faults import Fault, workflow
from forgemesh.orchestrator.domain import events as e
from forgemesh.orchestrator.domain.definition import Branch, Call, Parallel, Switch
from forgemesh.orchestrator.domain.failure import Failure, failure_of
from forgemesh.orchestrator.domain.fold import apply
from forgemesh.orchestrator.domain.payload import Payload, json_payload
from forgemesh.orchestrator.domain.reading import Read
from forgemesh.orchestrator.domain.retry import FAILOVER, SECOND
from forgemesh.orchestrator.domain.state import ExecutionState, Scope, Status, StepState, StepStatus
from forgemesh.orchestrator.domain.template import evaluate, evaluate_condition

MAX_INPUT = 4 * 1024 * 1024 - 64 * 1024
"""Bytes of a step's input or of an output: what one message carries, with room for the rest of it."""


def advance(state: ExecutionState, now: int) -> list[e.Event]:
    """Decide and fold until nothing is left to decide at `now` (Unix nanoseconds); the events in order."""
    events: list[e.Event] = []
    while state.status is Status.RUNNING:
        facts = tuple(decide(state, now))
        if not facts:
            break
        events += [record(state, fact, now) for fact in facts]
    return events


def record(state: ExecutionState, fact: e.Fact, now: int) -> e.Event:
    """Fold `fact` into the state as its next event; time never runs backwards within an execution."""
    event = e.Event(state.sequence + 1, max(now, state.last_at), fact)
    apply(state, event)
    return event


def decide(state: ExecutionState, now: int) -> Iterator[e.Fact]:
    """The next facts; fold them before asking again."""
    started = state.started
    if started is None or state.status is not Status.RUNNING:
        return
    if state.to_settle:
        yield from _settle(state, next(reversed(state.to_settle)))
        return
    if started.deadline and now >= started.deadline and state.stopping is None:
        seconds = state.definition.timeout or (started.deadline - state.started_at) / SECOND
        yield from _stop(state, "", failure_of(workflow.ExecutionTimeout(state.execution_id, seconds)))
        return
    for path, (scope, index) in state.to_begin.items():
        yield _begin(state, path, scope, index)
    for path in _due(state, now):
        yield e.AttemptStarted(path, state.steps[path].attempts + 1)


def _due(state: ExecutionState, now: int) -> list[str]:
    """The steps whose next try is due, the earliest first; looks at no more of the heap than that."""
    due: set[tuple[int, str]] = set()
    places = [0]
    while places:
        place = places.pop()
        if place < len(state.wakes) and state.wakes[place][0] <= now:
            at, path = state.wakes[place]
            step = state.waiting.get(path)
            if step is not None and step.next_at == at:
                due.add((at, path))
            places += (2 * place + 1, 2 * place + 2)
    return [path for _, path in sorted(due)]


def next_wake(state: ExecutionState) -> int | None:
    """When `decide` has something to say although nothing happens, in Unix nanoseconds."""
    if state.status is not Status.RUNNING or state.started is None:
        return None
    times = [state.wakes[0][0]] if state.wakes else []
    if state.started.deadline and state.stopping is None:
        times.append(state.started.deadline)
    return min(times, default=None)


def succeeded(state: ExecutionState, path: str, attempt: int, output: Payload, dispatch: e.Dispatch) -> e.Fact | None:
    """What a plugin's answer means; None if that try is not open any more."""
    if not _is_open(state, path, attempt):
        return None
    if output.size > MAX_INPUT:
        fault = workflow.PayloadTooLarge(f"the output of {path!r}", output.size, MAX_INPUT)
        return e.AttemptFailed(path, attempt, failure_of(fault, step_path=path), dispatch)
    return e.AttemptSucceeded(path, attempt, output, dispatch)


def failed(
    state: ExecutionState,
    path: str,
    attempt: int,
    failure: Failure,
    dispatch: e.Dispatch | None,
    now: int,
    draw: float,
) -> e.Fact | None:
    """What a failed try means; `draw` in [0, 1) spreads the next try. None if that try is not open any more."""
    if not _is_open(state, path, attempt):
        return None
    failure = failure.at(path)
    step = state.steps[path]
    if state.is_stopping(step.scope):
        if failure.reason in FAILOVER:
            failure = failure_of(workflow.Cancelled(path), step_path=path)
        return e.AttemptFailed(path, attempt, failure, dispatch)
    lost = step.lost + (failure.reason in FAILOVER)
    assert isinstance(step.step, Call)
    delay = step.step.retry.delay(failure, step.attempts - lost, lost, draw)
    next_at = 0 if delay is None else max(now, 1) + int(delay * SECOND)
    deadline = state.started.deadline if state.started is not None else 0
    if deadline and next_at >= deadline:
        late = "no further try, since it would come after the execution's timeout"
        return e.AttemptFailed(path, attempt, replace(failure, message=f"{failure.message}; {late}"), dispatch)
    return e.AttemptFailed(path, attempt, failure, dispatch, next_at)


def recovered(state: ExecutionState, orchestrator_id: str, epoch: int, now: int, draw: float) -> list[e.Event]:
    """Take an open execution up after its orchestrator died: every open try is lost, the rest goes on."""
    events = [record(state, e.ExecutionRecovered(orchestrator_id, epoch), now)]
    for path, step in list(state.open_attempts.items()):
        failure = failure_of(workflow.OrchestratorLost(path, step.attempts), retryable=True)
        fact = failed(state, path, step.attempts, failure, None, now, draw)
        if fact is not None:
            events.append(record(state, fact, now))
    return events


def reader(state: ExecutionState, scope: Scope | None) -> Read:
    """What templates see from inside `scope`: the input, the execution, ended steps of it and around it."""

    def read(variable: str) -> Payload:
        if variable == "input":
            assert state.started is not None
            return state.started.input
        if variable == "execution":
            return json_payload(
                {
                    "id": state.execution_id,
                    "namespace": state.namespace,
                    "workflow": state.definition.name,
                    "version": state.definition.version,
                }
            )
        _, step_id, fact = variable.split(".")
        step = _visible(scope, step_id)
        return state.output_of(step) if fact == "output" else json_payload(step.status.value)

    return read


def _visible(scope: Scope | None, step_id: str) -> StepState:
    while scope is not None:
        step = scope.begun.get(step_id)
        if step is not None and step.status.final:
            return step
        scope = scope.outer
    raise KeyError(step_id)


def _is_open(state: ExecutionState, path: str, attempt: int) -> bool:
    step = state.open_attempts.get(path)
    return step is not None and step.attempts == attempt


def _begin(state: ExecutionState, path: str, scope: Scope, index: int) -> e.Fact:
    step = scope.steps[index]
    try:
        if isinstance(step, Call):
            given = evaluate(step.input, reader(state, scope))
            if given.size > MAX_INPUT:
                raise workflow.PayloadTooLarge(f"the input of {path!r}", given.size, MAX_INPUT)
            return e.AttemptStarted(path, 1, given)
        if isinstance(step, Parallel):
            return e.GroupStarted(path, tuple(branch.name for branch in step.branches))
        return _choose(state, path, step, reader(state, scope))
    except Fault as fault:
        return e.StepFailed(path, failure_of(fault, step_path=path))


def _choose(state: ExecutionState, path: str, step: Switch, read: Read) -> e.Fact:
    for branch in step.branches:
        if _matches(branch, read):
            return e.GroupStarted(path, (branch.name,))
    if step.no_match == "skip":
        return e.StepSkipped(path, workflow.NoCaseMatched.reason)
    return e.StepFailed(path, failure_of(workflow.NoCaseMatched(path), step_path=path))


def _matches(branch: Branch, read: Read) -> bool:
    return branch.when is None or evaluate_condition(branch.when, read)


def _settle(state: ExecutionState, path: str) -> Iterator[e.Fact]:
    if not path:
        yield _finish(state)
        return
    group = state.steps[path]
    if group.open_branches:
        if group.stopping is None and group.failure is not None:
            yield from _stop(state, path, group.failure)
        return
    if group.stopping is not None:
        yield e.StepFailed(path, group.stopping)
    elif group.failure is not None:
        yield e.StepFailed(path, group.failure)
    elif state.is_stopping(group.scope) and not _branches_succeeded(state, group):
        yield e.StepCancelled(path)
    else:
        yield e.GroupSucceeded(path)


def _branches_succeeded(state: ExecutionState, group: StepState) -> bool:
    for name in group.branches:
        scope = state.scopes[f"{group.path}/{name}"]
        last = scope.begun.get(scope.steps[-1].id)
        if last is None or last.status not in (StepStatus.SUCCEEDED, StepStatus.SKIPPED):
            return False
    return True


def _finish(state: ExecutionState) -> e.Fact:
    failure = state.stopping or state.failure
    if failure is not None:
        return e.ExecutionFailed(failure)
    try:
        output = evaluate(state.definition.output, reader(state, state.scopes[""]))
        if output.size > MAX_INPUT:
            raise workflow.PayloadTooLarge("the execution's output", output.size, MAX_INPUT)
    except Fault as fault:
        return e.ExecutionFailed(failure_of(fault))
    return e.ExecutionSucceeded(output)


def _stop(state: ExecutionState, path: str, failure: Failure) -> Iterator[e.Fact]:
    """Nothing new starts below `path`; what waits there ends now, what is open is taken back by the executor."""
    yield e.StopRequested(path, failure)
    prefix = f"{path}/" if path else ""
    for waiting in (*state.to_begin, *state.waiting):
        if waiting.startswith(prefix):
            yield e.StepCancelled(waiting)


def open_below(state: ExecutionState, path: str) -> list[StepState]:
    """The open tries that a StopRequested at `path` takes back."""
    prefix = f"{path}/" if path else ""
    return [step for step in state.open_attempts.values() if step.path.startswith(prefix)]
