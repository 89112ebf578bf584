"""How steps begin: what their conditions and templates give becomes part of the history, once."""

from __future__ import annotations

from forgemesh.faults import Fault, workflow
from forgemesh.language.json_value import shown
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.attempts import child_id
from forgemesh.orchestrator.execution.bindings import reader
from forgemesh.orchestrator.execution.cache_key import cache_key
from forgemesh.orchestrator.execution.state import ExecutionState, Scope, StepState
from forgemesh.orchestrator.values.failure import failure_of
from forgemesh.orchestrator.values.moment import moment
from forgemesh.orchestrator.values.payload import Payload, check_size
from forgemesh.orchestrator.values.retry import SECOND
from forgemesh.orchestrator.workflow.definition import Call, Child, Loop, Map, Parallel, Step, Switch, Wait
from forgemesh.orchestrator.workflow.expressions.reading import Read
from forgemesh.orchestrator.workflow.expressions.template import Template, evaluate, evaluate_condition

MAX_ITEMS = 100_000
"""Items of one map."""
CONDITION_FALSE = "CONDITION_FALSE"


def begin(state: ExecutionState, path: str, scope: Scope, index: int, now: int) -> e.Fact:
    """The first fact of a step whose turn has come."""
    step, read = scope.steps[index], reader(state, scope)
    try:
        if step.when is not None and not evaluate_condition(step.when, read):
            return e.StepSkipped(path, CONDITION_FALSE)
        return _begin(state, path, step, read, now)
    except Fault as fault:
        failure = failure_of(fault, step_path=path)
        if isinstance(step, Call | Child) and step.on_exhausted == "incident":
            return e.IncidentOpened(path, failure)
        return e.StepFailed(path, failure)


def _begin(state: ExecutionState, path: str, step: Step, read: Read, now: int) -> e.Fact:
    match step:
        case Call():
            return _begin_call(state, path, step, read)
        case Child():
            given = _input(path, step.input, read)
            return e.AttemptStarted(path, 1, given, child_id=child_id(state, path, 1))
        case Parallel():
            return e.GroupStarted(path, tuple(branch.name for branch in step.branches))
        case Switch():
            return _choose(path, step, read)
        case Map():
            return _begin_map(path, step, read)
        case Loop():
            return e.GroupStarted(path)
        case Wait():
            return _begin_wait(path, step, read, now)


def _input(path: str, template: Template, read: Read) -> Payload:
    given = evaluate(template, read)
    check_size(given, f"the input of {path!r}")
    return given


def _begin_call(state: ExecutionState, path: str, call: Call, read: Read) -> e.Fact:
    given = _input(path, call.input, read)
    if call.cache is None and call.affinity is None:
        return e.AttemptStarted(path, 1, given)
    affinity = _text_of(evaluate(call.affinity, read)) if call.affinity is not None else ""
    return e.AttemptStarted(path, 1, given, _cache_key(state.namespace, call, given, read), affinity)


def _cache_key(namespace: str, call: Call, given: Payload, read: Read) -> str:
    if call.cache is None:
        return ""
    named = call.cache.key is not None
    asked = evaluate(call.cache.key, read) if call.cache.key is not None else given
    return cache_key(namespace, call.target, asked, named=named)


def _text_of(value: Payload) -> str:
    """A text as it is, anything else as JSON."""
    decoded = _value_of("affinity", value)
    return decoded if isinstance(decoded, str) else value.data.decode()


def _value_of(field: str, value: Payload) -> object:
    """Raises ExpressionError for what is not JSON."""
    try:
        return value.value()
    except ValueError as error:
        raise workflow.ExpressionError(field, str(error)) from error


def _choose(path: str, step: Switch, read: Read) -> e.Fact:
    for branch in step.branches:
        if branch.when is None or evaluate_condition(branch.when, read):
            return e.GroupStarted(path, (branch.name,))
    if step.no_match == "skip":
        return e.StepSkipped(path, workflow.NoCaseMatched.reason)
    raise workflow.NoCaseMatched(path)


def _begin_map(path: str, step: Map, read: Read) -> e.Fact:
    items = _input(path, step.over, read)
    value = _value_of("over", items)
    if not isinstance(value, list):
        raise workflow.ExpressionError("over", f"it gives {shown(value)}, and a map runs over a list")
    if len(value) > MAX_ITEMS:
        raise workflow.ExpressionError("over", f"the list has {len(value)} items, a map runs over at most {MAX_ITEMS}")
    if len(value) < step.join.quorum:  # before anything is called in vain
        raise workflow.BranchesFailed(path, 0, len(value), [], step.join.quorum)
    return e.GroupStarted(path, (), items, len(value))


def _begin_wait(path: str, step: Wait, read: Read, now: int) -> e.Fact:
    if step.until is not None:
        return e.WaitStarted(path, max(_moment(evaluate(step.until, read)), 1))
    until = now + round(step.seconds * SECOND) if step.seconds is not None else 0
    return e.WaitStarted(path, until, step.signal)


def _moment(value: Payload) -> int:
    decoded = _value_of("until", value)
    found = moment(decoded)
    if found is None:
        raise workflow.ExpressionError(
            "until", f"it gives {shown(decoded)}, not a moment before 2262 such as '2026-01-31T12:00:00Z', with a zone"
        )
    return found


def start_variables(state: ExecutionState) -> e.Fact:
    """The definition's variables, or the end of the execution if they cannot be had; a fork undoes what it took."""
    scope = state.scopes[""]
    try:
        return e.VariablesSet("", _values(state, state.definition.vars, scope))
    except Fault as fault:
        failure = failure_of(fault)
        return e.CompensationStarted(failure) if state.undoable else e.ExecutionFailed(failure)


def set_variables(state: ExecutionState, step: StepState) -> e.Fact:
    """What a step that has succeeded sets, or its failure if that cannot be had."""
    try:
        return e.VariablesSet(step.path, _values(state, step.step.sets, step.scope))
    except Fault as fault:
        return e.StepFailed(step.path, failure_of(fault, step_path=step.path))


def _values(state: ExecutionState, templates: tuple[tuple[str, Template], ...], scope: Scope) -> dict[str, Payload]:
    """Each sees those before it."""
    values: dict[str, Payload] = {}
    outside = reader(state, scope)

    def read(variable: str) -> Payload:
        own = values.get(variable.removeprefix("vars.")) if variable.startswith("vars.") else None
        return own if own is not None else outside(variable)

    for name, template in templates:
        values[name] = evaluate(template, read)
        check_size(values[name], f"the variable {name!r}")
    return values
