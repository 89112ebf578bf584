"""What has to happen next: facts that follow from the state and the time, and from nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from forgemesh.faults import control as control_faults, workflow
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.attempts import close_timeout, failed, next_attempt
from forgemesh.orchestrator.execution.beginning import begin, set_variables, start_variables
from forgemesh.orchestrator.execution.compensation import next_compensation
from forgemesh.orchestrator.execution.ending import settle, stop
from forgemesh.orchestrator.execution.fold import apply, refused
from forgemesh.orchestrator.execution.rounds import next_round
from forgemesh.orchestrator.execution.scopes import is_due
from forgemesh.orchestrator.execution.state import ExecutionState, StepState, StepStatus
from forgemesh.orchestrator.execution.triggers import skip_reason
from forgemesh.orchestrator.values.failure import failure_of
from forgemesh.orchestrator.values.payload import NULL
from forgemesh.orchestrator.values.retry import SECOND
from forgemesh.orchestrator.workflow.definition import Child, Wait


def advance(
    state: ExecutionState, now: int, ahead: int = 0, enough: Callable[[], bool] = lambda: False
) -> list[e.Event]:
    """
    Decide and fold until nothing is left to decide at `now` (Unix nanoseconds), or until that is `enough` for one turn:
    then the state is `unfinished`. The events in order.

    `ahead` is by how many nanoseconds the wall clock is ahead of `now`, which runs evenly and need not agree with it.
    """
    events: list[e.Event] = []
    state.unfinished = False
    while state.ended is None and not state.unfinished:
        facts: list[e.Fact] = []
        for fact in decide(state, now, ahead):
            facts.append(fact)
            if len(facts) > 1 and enough():
                state.unfinished = True
                break
        if not facts:
            break
        events += [record(state, fact, now) for fact in facts]
    return events


def record(state: ExecutionState, fact: e.Fact, now: int) -> e.Event:
    """
    Fold `fact` into the state as its next event; time never runs backwards within an execution.

    Raises AfterEnd, or IllegalFact for a kind that cannot follow where the execution stands: bugs of whoever made it.
    """
    if type(fact) not in state.follows:
        raise refused(state, fact)
    event = e.Event(state.sequence + 1, max(now, state.last_at), fact)
    apply(state, event)
    return event


def decide(state: ExecutionState, now: int, ahead: int = 0) -> Iterator[e.Fact]:
    """
    The next facts; fold them before asking again.

    The order of the branches is that of the table in docs/executions.md, "Which comes first".
    """
    if state.started is None or state.ended is not None:
        return
    if state.compensating:
        yield from next_compensation(state)
        yield from _due(state, now, ahead)
    elif state.cancels and state.stopping is None:
        cause = state.cancels[0]
        fault = control_faults.ExecutionCancelled(state.execution_id, cause.by, cause.reason)
        yield from stop(state, "", failure_of(fault))
    elif state.to_settle and not _is_held(state):
        yield from settle(state, next(reversed(state.to_settle)), now)
    elif _is_late(state, now):
        seconds = state.definition.timeout or (state.deadline - state.started_at) / SECOND
        yield from stop(state, "", failure_of(workflow.ExecutionTimeout(state.execution_id, seconds)))
    elif state.pause is not None:
        if not state.rests and not in_flight(state):
            yield e.ExecutionPaused()
    elif not state.queued or state.stopping is not None:
        yield from _go_on(state, now, ahead)


def _is_held(state: ExecutionState) -> bool:
    """
    Whether something keeps it from what follows from ended branches: the queue, in which an import may have some; and
    once all its steps have ended, a pause or unset variables.
    """
    if state.stopping is not None:
        return False
    return state.queued or ("" in state.to_settle and (state.pause is not None or not state.vars_set))


def _is_late(state: ExecutionState, now: int) -> bool:
    return bool(state.deadline) and now >= state.deadline and state.stopping is None and not state.clock_held


def _go_on(state: ExecutionState, now: int, ahead: int) -> Iterator[e.Fact]:
    if not state.vars_set:
        yield start_variables(state)
        return
    if state.to_set:
        yield from [set_variables(state, step) for step in state.to_set.values()]
        return
    for path, (scope, index) in state.to_skip.items():
        yield e.StepSkipped(path, skip_reason(state, scope, index))
    for path, (scope, index) in state.to_begin.items():
        yield begin(state, path, scope, index, now)
    if state.signals:
        yield from _signals(state)
    if state.wakes or state.moments:
        yield from _due(state, now, ahead)
    if state.ready:
        yield from _fill_places(state, now)


def _fill_places(state: ExecutionState, now: int) -> Iterator[e.Fact]:
    """Let steps begin that wait for one of the execution's own places, the first come first."""
    limit = state.definition.max_concurrency or len(state.ready) + len(state.open_attempts) + len(state.waiting)
    free = limit - len(state.open_attempts) - len(state.waiting)
    for path, (scope, index) in list(state.ready.items())[: max(free, 0)]:
        known = state.steps.get(path)
        yield begin(state, path, scope, index, now) if known is None else next_attempt(state, known)


def in_flight(state: ExecutionState) -> list[StepState]:
    """Steps on which a plugin works, or may soon."""
    return [step for step in state.open_attempts.values() if not isinstance(step.step, Child)]


def _signals(state: ExecutionState) -> Iterator[e.Fact]:
    """The oldest signal of a name goes to the step that has waited for it the longest."""
    for name in [name for name in state.signals if name in state.listening]:
        for path, (sequence, signal) in zip(list(state.listening[name]), list(state.signals[name]), strict=False):
            yield e.WaitEnded(path, signal.payload, sequence)


def _due(state: ExecutionState, now: int, ahead: int) -> Iterator[e.Fact]:
    """What was to happen by now, the earliest first."""
    due = _reached(state, state.wakes, now)
    if state.moments:
        due |= _reached(state, state.moments, now + ahead)
    done: set[str] = set()
    for at, path in sorted(due):
        step = state.steps[path]
        if path in done or (path in state.waits and step.waits is not None and _has_signal(state, step)):
            continue
        done.add(path)
        late = 0 < step.close_at <= now  # no attempt begins only to end at once
        yield from _fall_due(state, step, step.close_at if late else at)


def _reached(state: ExecutionState, heap: list[tuple[int, str]], now: int) -> set[tuple[int, str]]:
    """What of the heap is due; looks at no more of it than that."""
    due: set[tuple[int, str]] = set()
    places = [0]
    while places:
        place = places.pop()
        if place < len(heap) and heap[place][0] <= now:
            if is_due(state, *heap[place]):
                due.add(heap[place])
            places += (2 * place + 1, 2 * place + 2)
    return due


def _has_signal(state: ExecutionState, step: StepState) -> bool:
    """A signal that has come in time wins over the timeout of the wait."""
    assert step.waits is not None
    waiting = state.listening.get(step.waits.signal, {})
    return step.path in list(waiting)[: len(state.signals.get(step.waits.signal, ()))]


def _fall_due(state: ExecutionState, step: StepState, at: int) -> Iterator[e.Fact]:
    if step.close_at == at:
        yield close_timeout(state, step)
    elif step.path in state.waiting:
        yield next_attempt(state, step)
    elif step.step.rounds:
        yield next_round(step)
    elif isinstance(step.step, Wait) and step.step.signal:
        fault = workflow.SignalTimeout(step.path, step.step.signal, step.step.seconds or 0.0)
        if step.step.on_timeout == "skip":
            yield e.StepSkipped(step.path, "WAIT_TIMEOUT")
        else:
            yield e.StepFailed(step.path, failure_of(fault, step_path=step.path))
    else:
        yield e.WaitEnded(step.path, NULL)


def next_wake(state: ExecutionState, ahead: int = 0) -> int | None:
    """When `decide` has something to say although nothing happens, in Unix nanoseconds; see advance for `ahead`."""
    if state.ended is not None or state.started is None:
        return None
    if state.unfinished:
        return state.last_at
    queued = state.queued and state.stopping is None and not state.compensating  # what ends waits for no place
    held = state.pause is not None or queued
    times = [state.wakes[0][0]] if state.wakes and not held else []
    if state.moments and not held:
        times.append(state.moments[0][0] - ahead)
    if state.deadline and state.stopping is None and not state.compensating and not state.clock_held:
        times.append(state.deadline)
    return min(times, default=None)


NOTHING: Mapping[str, int] = MappingProxyType({})


def recovered(
    state: ExecutionState,
    orchestrator_id: str,
    epoch: int,
    now: int,
    draw: float,
    unsent: Mapping[str, int] = NOTHING,
) -> list[e.Event]:
    """
    Take an open execution up after its orchestrator died: what is known not to have been sent stays open and is to be
    sent, every other open call is lost, the rest goes on.

    That is known of what is on record as blocked, and of the attempts in `unsent`, by step path.
    """
    events = [record(state, e.ExecutionRecovered(orchestrator_id, epoch), now)]
    for step in in_flight(state):
        waited = step.status is StepStatus.BLOCKED or unsent.get(step.path) == step.attempts
        if waited and state.pause is None and (step.compensates is not None or not state.is_stopping(step.scope)):
            continue
        fault = workflow.Cancelled(step.path) if waited else workflow.OrchestratorLost(step.path, step.attempts)
        fact = failed(state, step.path, step.attempts, failure_of(fault, retryable=not waited), None, now, draw)
        if fact is not None:
            events.append(record(state, fact, now))
    return events
