"""How sequences and groups of steps move on when a step begins or ends: the part of folding that walks the tree."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import assert_never

import msgspec

from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.branch_count import must_stop, tolerated
from forgemesh.orchestrator.execution.fork_names import items_told_apart
from forgemesh.orchestrator.execution.state import Branches, ExecutionState, Scope, StepState, StepStatus, max_open
from forgemesh.orchestrator.execution.triggers import look_back, may_run, unhandled_failure, was_done
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.workflow.definition import (
    Branch,
    Call,
    Child,
    Group,
    Loop,
    Map,
    Parallel,
    Sequence,
    Switch,
    Trigger,
)


def open_scope(
    state: ExecutionState,
    path: str,
    steps: Sequence,
    group: StepState | None,
    at: int,
    *,
    item: Payload | None = None,
    index: int = -1,
    source: str | None = None,
) -> None:
    """Begin a sequence: those of its steps that wait for no other get their turn."""
    outer = group.scope if group is not None else None
    scope = state.scopes[path] = Scope(path, steps, group, outer, item=item, index=index, source=source)
    for first in steps.first:
        _take_turn(state, scope, first)


def begin_step(state: ExecutionState, path: str, at: int) -> StepState:
    """A step whose turn has come begins."""
    for queue in (state.to_begin, state.ready, state.to_skip):
        if path in queue:
            scope, index = queue.pop(path)
            return _new_step(state, scope, index, at)
    raise KeyError(path)


def end_step(state: ExecutionState, step: StepState, status: StepStatus, at: int) -> None:
    """A step ends; unless it has variables to set first, those after it get their turn."""
    step.status, step.ended_at, step.next_at, step.close_at = status, at, 0, 0
    _forget(state, step)
    if step.step.rounds and step.branches is not None:
        _forget_round(state, step)
        if status is not StepStatus.SUCCEEDED:
            step.merged = {}
    if step.compensates is not None:
        state.undoing = None
        if status is StepStatus.SUCCEEDED:
            state.undoable.remove(step.compensates)
        return
    state.ended_steps += 1
    if status is StepStatus.SKIPPED or step.branches is not None or step.idle:
        look_back(state, step)
    if status is StepStatus.SUCCEEDED or step.doubtful:
        _remember_effect(state, step)
    if step.step.sets and status is StepStatus.SUCCEEDED:
        state.to_set[step.path] = step
    else:
        pass_on(state, step, at)


def _remember_effect(state: ExecutionState, step: StepState) -> None:
    if isinstance(step.step, Call) and step.step.compensate is not None and not step.taken:
        state.undoable.append(step)


def pass_on(state: ExecutionState, step: StepState, at: int) -> None:
    """Give the steps after an ended one their turn, and close its sequence if nothing of it is left."""
    scope = step.scope
    if step.status is StepStatus.FAILED:
        scope.failed = True
    if not state.is_stopping(scope):
        for following in scope.steps.following[step.index]:
            _consider(state, scope, following, step)
    _leave(state, scope, at)


def open_branches(state: ExecutionState, group: StepState, at: int) -> None:
    """Open further branches of a group, as many as may run at once."""
    branches = group.branches
    assert branches is not None
    while branches.next < branches.count and (not branches.limit or branches.open < branches.limit):
        number = branches.next
        branches.next += 1
        branches.open += 1
        _open_branch(state, group, number, at)


def _open_branch(state: ExecutionState, group: StepState, number: int, at: int) -> None:
    assert isinstance(group.step, Group)
    match group.step:
        case Map(steps=steps):
            path, item, source = f"{group.path}/{number}", group.items[number], _source(state, group, number)
            open_scope(state, path, steps, group, at, item=item, index=number, source=source)
        case Loop(steps=steps):
            path, source = round_path(group, number), _source(state, group, number)
            open_scope(state, path, steps, group, at, index=number, source=source)
            state.scopes[path].vars |= group.merged
        case Switch() | Parallel():
            branch = _branch(group, number)
            source = _source(state, group, branch.name)
            open_scope(state, f"{group.path}/{branch.name}", branch.steps, group, at, source=source)
        case _:
            assert_never(group.step)


def round_path(group: StepState, index: int) -> str:
    """The path of a round of a loop."""
    return f"{group.path}/{index}"


def _source(state: ExecutionState, group: StepState, branch: str | int) -> str | None:
    """
    In a fork, the sequence of the origin that a branch stands for: of an iteration, the one for an equal item, of a
    loop, the same round.
    """
    if not state.taken:
        return None
    above = state.source_of(group)
    by_name = isinstance(branch, str) or group.step.rounds
    name = branch if by_name else (group.sources or {}).get(branch)  # type: ignore[arg-type]
    return f"{above}/{name}" if above is not None and name is not None else None


def _branch(group: StepState, number: int) -> Branch:
    """All branches of a parallel group run, and one of a switch."""
    if isinstance(group.step, Parallel):
        return group.step.branches[number]
    assert isinstance(group.step, Switch)
    return next(branch for branch in group.step.branches if branch.name == group.branch_names[number])


def start_group(state: ExecutionState, group: StepState, fact: e.GroupStarted, at: int) -> None:
    """Open the branches of a group that has begun."""
    assert isinstance(group.step, Group)
    count = _count(group.step, fact)
    group.branch_names = fact.branches
    group.branches = Branches(count, max_open(group.step), tolerated(group, count, state.rules))
    if fact.items is not None:
        items = msgspec.json.decode(fact.items.data, type=list[msgspec.Raw])
        group.items = tuple(Payload(bytes(item)) for item in items)
        if state.taken:
            _find_sources(state, group)
    open_branches(state, group, at)
    if count == 0:
        state.to_settle[group.path] = None


def _count(group: Group, fact: e.GroupStarted) -> int:
    match group:
        case Map():
            return fact.count
        case Loop():
            return group.max_iterations
        case Switch() | Parallel():
            return len(fact.branches)


def _find_sources(state: ExecutionState, group: StepState) -> None:
    assert isinstance(group.step, Map)
    source = state.source_of(group)
    known = state.taken_items.get(source) if source is not None else None
    if known is not None:
        told = items_told_apart(group.items, by_index=group.step.by_index)
        group.sources = {number: known[item] for number, item in enumerate(told) if item in known}
    elif not state.rules:  # a fork of a release that knew iterations by their indexes
        group.sources = {number: number for number in range(len(group.items))}


def merge_variables(state: ExecutionState, group: StepState) -> None:
    """What the branches of a group that has succeeded have set is seen after it; that of iterations stays inside."""
    assert group.branches is not None
    if group.step.keeps_variables:
        return
    if group.step.rounds:
        group.scope.vars |= group.merged
        return
    names = [name for name in group.branch_names if name in group.branches.outputs]
    if isinstance(group.step, Parallel) and group.step.merge == "first":
        names.reverse()
    for name in names:
        group.merged |= state.scopes[f"{group.path}/{name}"].vars
    group.scope.vars |= group.merged


def _take_turn(state: ExecutionState, scope: Scope, index: int) -> None:
    path, step = scope.path_of(index), scope.steps[index]
    scope.open += 1
    if state.taken and scope.source is not None:
        found = state.taken.get(f"{scope.source}/{step.id}" if scope.source else step.id)
        if found is not None:
            state.to_take.append((path, found))
    if state.definition.max_concurrency and isinstance(step, Call | Child):
        state.ready[path] = (scope, index)
    else:
        state.to_begin[path] = (scope, index)


def end_taken(state: ExecutionState, at: int) -> None:
    """Steps whose turn has come end with the results that they had in the origin of the fork."""
    while state.to_take:
        path, taken = state.to_take.pop()
        step = begin_step(state, path, at)
        step.taken, step.owner, step.output, step.skipped = True, taken.owner, taken.output, taken.skipped
        step.failure, step.idle = taken.failure, taken.idle
        step.scope.vars |= taken.variables
        if taken.failure is not None:
            end_step(state, step, StepStatus.FAILED, at)
        else:
            end_step(state, step, StepStatus.SKIPPED if taken.skipped else StepStatus.SUCCEEDED, at)


def _new_step(state: ExecutionState, scope: Scope, index: int, at: int) -> StepState:
    step = StepState(scope.path_of(index), scope.steps[index], scope, at, index)
    state.steps[step.path] = scope.begun[step.step.id] = step
    return step


def _consider(state: ExecutionState, scope: Scope, index: int, ended: StepState) -> None:
    """Whether a step after `ended` has its turn now."""
    before, step = scope.steps.before[index], scope.steps[index]
    if len(before) > 1:
        if scope.behind is None:
            scope.behind = {}
        left = scope.behind.get(index, len(before)) - 1
        scope.behind[index] = left
        if scope.turned is not None and index in scope.turned:
            return
        if step.trigger is Trigger.ANY_SUCCEEDED and ended.status is StepStatus.SUCCEEDED and not ended.astray:
            scope.turned = (scope.turned or set()) | {index}
            _take_turn(state, scope, index)
            return
        if left:
            return
    if may_run(scope, before, step.trigger):
        _take_turn(state, scope, index)
    else:
        scope.open += 1
        state.to_skip[scope.path_of(index)] = (scope, index)


def _leave(state: ExecutionState, scope: Scope, at: int) -> None:
    """One less of the sequence's steps is open."""
    scope.open -= 1
    if scope.open:
        return
    if scope.group is None:
        state.to_settle[""] = None
        return
    _close_branch(state, scope, scope.group, at)


def _close_branch(state: ExecutionState, scope: Scope, group: StepState, at: int) -> None:
    branches = group.branches
    assert branches is not None
    branches.open -= 1
    failure = unhandled_failure(state, scope)
    if group.step.rounds:
        branches.outputs.clear()
    if failure is not None:
        branches.failures[scope.name] = failure
    elif is_complete(scope):
        if state.rules and not any(was_done(step) for step in scope.begun.values()):
            branches.skipped += 1
        else:
            branches.succeeded += 1
        branches.outputs[scope.name] = _branch_output(state, scope, group)
    if group.step.rounds:
        state.to_settle[group.path] = None
        return
    if isinstance(group.step, Map) and not group.step.undoable and not state.remember:
        _drop(state, scope)
    stops = group.stopping is None and not state.is_stopping(group.scope) and must_stop(group) is not None
    goes_on = not stops and not state.is_stopping(scope)
    if goes_on and branches.next < branches.count:
        open_branches(state, group, at)
    elif stops or branches.open == 0:
        state.to_settle[group.path] = None


def is_complete(scope: Scope) -> bool:
    """Whether every step of the sequence has ended, none of them because of something around it."""
    return len(scope.begun) == len(scope.steps) and all(
        step.status is not StepStatus.CANCELLED for step in scope.begun.values()
    )


def _branch_output(state: ExecutionState, scope: Scope, group: StepState) -> Payload | StepState:
    """Of its last step: the step itself, unless iterations are forgotten once they have ended."""
    last = scope.begun[scope.steps[-1].id]
    if not isinstance(group.step, Map):
        return last
    try:
        return state.output_of(last)
    except ValueError:  # a branch of it is not JSON: whoever asks for the output is told so
        return last


def _drop(state: ExecutionState, scope: Scope) -> None:
    """Forget an ended iteration, so that a long map takes no more memory than a short one."""
    del state.scopes[scope.path]
    for step in scope.begun.values():
        state.steps.pop(step.path, None)
        for name in step.branch_names:
            inner = state.scopes.get(f"{step.path}/{name}")
            if inner is not None:
                _drop(state, inner)


def start_round(state: ExecutionState, loop: StepState, at: int) -> None:
    """The next round of a loop begins."""
    leave_waits(state, loop)
    loop.status, loop.next_at, loop.verdict = StepStatus.RUNNING, 0, None
    leave_waiting(state, loop.path)
    open_branches(state, loop, at)


def end_round(state: ExecutionState, loop: StepState, verdict: e.RoundJudged) -> None:
    """A round of a loop has been judged: the next one is waited for, or the loop ends."""
    loop.verdict = verdict
    loop.merged = dict(state.scopes[round_path(loop, verdict.index)].vars)
    _forget_round(state, loop)
    if verdict.next_at:
        state.to_settle.pop(loop.path, None)
        loop.status, loop.next_at = StepStatus.WAITING, verdict.next_at
        state.waits[loop.path] = loop
        wake(state, verdict.next_at, loop.path)


def _forget_round(state: ExecutionState, loop: StepState) -> None:
    """The newest round of a loop, once it has been judged or the loop has ended; the ones before it are forgotten."""
    assert isinstance(loop.step, Loop)
    assert loop.branches is not None
    scope = state.scopes.get(round_path(loop, loop.branches.next - 1))
    if scope is not None and not loop.step.undoable and not state.remember:
        _drop(state, scope)


def _forget(state: ExecutionState, step: StepState) -> None:
    """Nothing is to be done about the step any more."""
    path = step.path
    state.incidents.pop(path, None)
    state.to_settle.pop(path, None)
    state.ready.pop(path, None)
    leave_waits(state, step)
    leave_waiting(state, path)


def leave_waits(state: ExecutionState, step: StepState) -> None:
    """A wait step does not wait any more."""
    if state.waits.pop(step.path, None) is not None and step.waits is not None and step.waits.signal:
        listening = state.listening[step.waits.signal]
        del listening[step.path]
        if not listening:
            del state.listening[step.waits.signal]


def leave_waiting(state: ExecutionState, path: str) -> None:
    """A step's next attempt is not waited for any more; keeps the heap's first wake a true one."""
    state.waiting.pop(path, None)
    for heap in (state.wakes, state.moments) if state.moments else (state.wakes,):
        while heap and not is_due(state, *heap[0]):
            heappop(heap)


def wake(state: ExecutionState, at: int, path: str, *, by_wall: bool = False) -> None:
    """Something about the step is due then: after a time has passed, or when the wall clock says so."""
    heappush(state.moments if by_wall else state.wakes, (at, path))


def is_due(state: ExecutionState, at: int, path: str) -> bool:
    """Whether a wake still counts: the step says the same."""
    step = state.steps.get(path)
    if step is None or step.status.final:
        return False
    if path in state.waiting and step.next_at == at:
        return True
    if path in state.waits and (step.next_at == at or (step.waits is not None and step.waits.until == at)):
        return True
    return step.close_at == at and path not in state.incidents
