"""What a fork takes over from the execution that it starts from: results, and the effects that the origin gives up."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence as Listed
from dataclasses import dataclass, field

import msgspec

from forgemesh.faults import Fault
from forgemesh.faults.control import ExecutionState as Refused
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.bindings import reader
from forgemesh.orchestrator.execution.fork_names import items_told_apart, name_in_fork
from forgemesh.orchestrator.execution.scopes import round_path
from forgemesh.orchestrator.execution.state import ExecutionState, Scope, StepState, StepStatus
from forgemesh.orchestrator.execution.triggers import UPSTREAM_FAILED, UPSTREAM_SKIPPED, is_taken_up
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.workflow.definition import (
    COMPENSATION,
    Call,
    Definition,
    Group,
    Loop,
    Map,
    Parallel,
    Sequence,
    Step,
    Switch,
)
from forgemesh.orchestrator.workflow.expressions.template import evaluate
from forgemesh.orchestrator.workflow.step_content import content, same_condition, variables_in


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has an effect now, as "ID@RUN", and whether it still stands: nobody has begun to undo it."""

    run: str
    stands: bool


def check_origin(newest: ExecutionState) -> None:
    """Raises faults.control.ExecutionState if what the origin did is about to be undone."""
    if newest.stopping is not None and newest.undoable and not newest.status.final:
        hint = "it is being stopped, and what it did is undone next; wait for its end"
        raise Refused(newest.execution_id, "forked", newest.status.value, hint)


def takeover(
    state: ExecutionState,
    newest: ExecutionState,
    target: Definition,
    rerun: Collection[str],
    *,
    holders: Mapping[str, Holder],
    undone: Collection[str] = (),
    given: Payload | None = None,
) -> list[e.Fact]:
    """
    The results that hold in the fork, in order of their time, and the effects that are the fork's from now on.

    A result holds if the step has ended well, was skipped for a reason of its own, or failed and the failure was taken
    up; if the step is in `target` and does the same there; if all that is before it there holds as well; and if no
    effect in it was undone. It does not if the step is in `rerun`. What is inside an ended group goes with the group.

    `state` is that of the origin at the checkpoint, folded with `remember`, and `newest` the one of now. `holders` are
    those who have effects of the origin now, by the effects' names, if it is no longer the origin; `undone` are steps
    of it that rest on an effect of somebody else that was undone; `given` is the fork's input, if it is another one.
    """
    effects = _effects(state)
    standing = {effect.path: place for place, effect in enumerate(newest.undoable)}
    gone = {place for place, effect in effects.items() if not _stands(effect, newest, standing, holders)}
    taking = _Taking(state, target, _with_all_above((*rerun, *gone, *undone)), frozenset(rerun), given)
    taking.walk(state.definition.steps, target.steps, "")
    owned: list[tuple[int, e.EffectTaken]] = []
    owners: dict[str, str] = {}
    for place, effect in effects.items():
        result = next((path for path in _self_and_above(place) if path in taking.results), None)
        if result is None:
            continue
        fact = _handed_over(state, newest, target, place, effect, holders, same_input=given is None)
        if fact is not None:
            owned.append((standing[effect.path], fact))
        else:
            holder = holders.get(effect.path)
            owners.setdefault(result, holder.run if holder is not None else run_of(newest))
    owned.sort(key=lambda one: one[0])
    return [*taking.facts(owners), *(fact for _, fact in owned)]


def run_of(state: ExecutionState) -> str:
    """The execution and the run of it that a state is of, as tools take it."""
    return f"{state.execution_id}@{state.run_id}" if state.run_id else state.execution_id


def lent(state: ExecutionState) -> dict[str, str]:
    """Steps that rest on effects of another execution, and whose those are."""
    return {path: step.owner for path, step in state.steps.items() if step.owner}


def _effects(state: ExecutionState) -> dict[str, StepState]:
    """The effects that the execution had, taken over ones included, by the path of the step that they stand behind."""
    found = {
        path: step
        for path, step in state.steps.items()
        if isinstance(step.step, Call)
        and step.step.compensate is not None
        and step.compensates is None
        and not step.taken
        and (step.status is StepStatus.SUCCEEDED or (step.doubtful and step.status.final))
    }
    if state.effects:
        here = {state.source_of(step): path for path, step in state.steps.items() if step.taken}
        for place, effect in state.effects.items():
            source = next((path for path in _self_and_above(place) if path in here), None)
            if source is not None:
                found[here[source] + place[len(source) :]] = effect
    return found


def _stands(
    effect: StepState, newest: ExecutionState, standing: Collection[str], holders: Mapping[str, Holder]
) -> bool:
    """Whether nobody has begun to undo it."""
    holder = holders.get(effect.path)
    if holder is not None:
        return holder.stands
    return effect.path in standing and f"{effect.path}{COMPENSATION}" not in newest.steps


def _handed_over(
    state: ExecutionState,
    newest: ExecutionState,
    target: Definition,
    place: str,
    effect: StepState,
    holders: Mapping[str, Holder],
    *,
    same_input: bool,
) -> e.EffectTaken | None:
    """None if the origin keeps it: it goes on, has it no more, or the fork would not know how to undo it."""
    if not newest.status.final or effect.path in holders:
        return None
    name = name_in_fork(effect.path)
    try:
        step = target.step_at(name)
    except KeyError:
        return None
    if not isinstance(step, Call) or step.compensate is None:
        return None
    view = _view(state, effect, set(variables_in(step.compensate.input)), same_input=same_input)
    return e.EffectTaken(name, place, view) if view is not None else None


def _view(
    state: ExecutionState, effect: StepState, variables: Collection[str], *, same_input: bool
) -> dict[str, Payload] | None:
    """What the compensation sees of the origin; None if that cannot be had any more."""
    earlier = effect.view
    read = reader(state, effect.scope, undoing=effect)
    view: dict[str, Payload] = {}
    for variable in variables:
        if variable == "error" or (variable == "input" and same_input and (earlier is None or "input" not in earlier)):
            continue
        if earlier is not None and variable != "input" and variable not in earlier:
            return None
        try:
            view[variable] = earlier[variable] if earlier is not None and variable in earlier else read(variable)
        except (Fault, ValueError, KeyError):
            return None
    return view


@dataclass(slots=True)
class _Taking:
    """`again` are steps that run again, with all groups around them; `rerun` those that were asked for by name."""

    state: ExecutionState
    target: Definition
    again: Collection[str]
    rerun: Collection[str]
    given: Payload | None
    results: dict[str, StepState] = field(default_factory=dict)
    _same: dict[tuple[int, int], bool] = field(default_factory=dict)
    _items: dict[str, list[str]] = field(default_factory=dict)

    def walk(self, known: Sequence, wanted: Sequence, prefix: str) -> bool:
        """Take what holds of one sequence, `known` the origin's and `wanted` the fork's, and say whether all does."""
        holds: set[int] = set()
        for index in _in_order(wanted):
            step = self.state.steps.get(f"{prefix}{wanted[index].id}")
            if step is None or step.compensates is not None or not holds.issuperset(wanted.before[index]):
                continue
            if self._holds(step, known, wanted, index):
                holds.add(index)
            elif step.path not in self.rerun:
                self._walk_inside(step, wanted[index])
        return len(holds) == len(wanted)

    def _holds(self, step: StepState, known: Sequence, wanted: Sequence, index: int) -> bool:
        if step.path in self.again or not self._is_same(step.step, wanted[index]) or not self._has_same_items(step):
            return False
        if step.skipped in (UPSTREAM_FAILED, UPSTREAM_SKIPPED):  # it will be skipped again, by what is before it
            return True
        failed = step.status is StepStatus.FAILED
        taken_up = failed and is_taken_up(e.RULES, step.scope, step.index) and _can_be_taken_up(wanted, index)
        if taken_up or step.status in (StepStatus.SUCCEEDED, StepStatus.SKIPPED):
            self.results[step.path] = step
            return True
        return False

    def _walk_inside(self, group: StepState, wanted: Step) -> None:
        """Of a group that has to run again, what holds inside: the same branches, or the same items."""
        known = group.step
        if not isinstance(known, Group) or type(known) is not type(wanted):
            return
        match known:
            case Map() if isinstance(wanted, Map):
                self._walk_items(group, known, wanted)
            case Loop() if isinstance(wanted, Loop):
                self._walk_rounds(group, known, wanted)
            case Switch() | Parallel() if isinstance(wanted, Switch | Parallel):
                self._walk_branches(group, known, wanted)

    def _walk_items(self, group: StepState, known: Map, wanted: Map) -> None:
        self._items[group.path] = items_told_apart(group.items, by_index=wanted.by_index)
        for number in range(group.branches.next if group.branches is not None else 0):
            if f"{group.path}/{number}" in self.state.scopes:
                self.walk(known.steps, wanted.steps, f"{group.path}/{number}/")

    def _walk_branches(self, group: StepState, known: Switch | Parallel, wanted: Switch | Parallel) -> None:
        there = {branch.name: branch for branch in wanted.branches}
        for branch in known.branches:
            other = there.get(branch.name)
            if branch.name in group.branch_names and other is not None and same_condition(branch, other):
                self.walk(branch.steps, other.steps, f"{group.path}/{branch.name}/")

    def _walk_rounds(self, group: StepState, known: Loop, wanted: Loop) -> None:
        """A round holds if those before it hold as a whole: it went on from what they had left."""
        for number in range(group.branches.next if group.branches is not None else 0):
            path = round_path(group, number)
            if path not in self.state.scopes or not self.walk(known.steps, wanted.steps, f"{path}/"):
                return

    def _is_same(self, known: Step, wanted: Step) -> bool:
        if known is wanted:
            return True
        key = (id(known), id(wanted))
        if key not in self._same:
            self._same[key] = content(known) == content(wanted)
        return self._same[key]

    def _has_same_items(self, step: StepState) -> bool:
        """Whether a map would run over the same list with the input of the fork."""
        if self.given is None or not isinstance(step.step, Map) or step.status is StepStatus.SKIPPED:
            return True
        if step.taken:  # what it ran over is not known any more
            return "input" not in variables_in(step.step.over)
        given, read = self.given, reader(self.state, step.scope)
        try:
            items = evaluate(step.step.over, lambda name: given if name == "input" else read(name))
            found = [Payload(bytes(item)) for item in msgspec.json.decode(items.data, type=list[msgspec.Raw])]
        except (Fault, ValueError, KeyError):
            return False
        return items_told_apart(found, by_index=True) == items_told_apart(step.items, by_index=True)

    def facts(self, owners: Mapping[str, str]) -> Iterator[e.ResultTaken]:
        """In order of their time."""
        for path, step in sorted(self.results.items(), key=lambda one: one[1].ended_at):
            failed = step.failure if step.status is StepStatus.FAILED else None
            owner = owners.get(path) or step.owner or self._former_owner(step)
            items = tuple(self._items_around(step))
            output, merged = self.state.output_of(step), dict(step.merged)
            yield e.ResultTaken(path, output, step.skipped, merged, failed, step.idle, owner, items)

    def _former_owner(self, step: StepState) -> str:
        """Forks of older releases took results without effects."""
        origin = self.state.started.origin if self.state.started is not None else None
        return origin.forked_from if step.taken and not self.state.rules and origin is not None else ""

    def _items_around(self, step: StepState) -> Listed[str]:
        scope: Scope | None = step.scope
        items: list[str] = []
        while scope is not None and scope.group is not None:
            if scope.item is not None:
                items.insert(0, self._items[scope.group.path][scope.index])
            elif scope.index >= 0:
                items.insert(0, str(scope.index))
            scope = scope.outer
        return items


def _in_order(steps: Sequence) -> Iterator[int]:
    """Every step after those before it."""
    left = [len(before) for before in steps.before]
    order = list(steps.first)
    for index in order:
        yield index
        for following in steps.following[index]:
            left[following] -= 1
            if not left[following]:
                order.append(following)


def _can_be_taken_up(steps: Sequence, index: int) -> bool:
    """Whether a step that tolerates failures comes after it."""
    seen, todo = {index}, [index]
    while todo:
        for following in steps.following[todo.pop()]:
            if following not in seen:
                if steps[following].trigger.tolerant:
                    return True
                seen.add(following)
                todo.append(following)
    return False


def _self_and_above(path: str) -> Iterator[str]:
    """The path and those of the groups and branches around it, the innermost first."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def _with_all_above(paths: Collection[str]) -> set[str]:
    return {above for path in paths for above in _self_and_above(path)}


def merge_patch(target: object, patch: object) -> object:
    """JSON Merge Patch, RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result
