"""What expressions see from a place inside an execution."""

from __future__ import annotations

from collections.abc import Iterator

from forgemesh.orchestrator.execution.state import ExecutionState, Scope, StepState
from forgemesh.orchestrator.values.failure import Failure
from forgemesh.orchestrator.values.payload import NULL, Payload, json_payload
from forgemesh.orchestrator.workflow.expressions.reading import Read


def reader(state: ExecutionState, scope: Scope | None, *, undoing: StepState | None = None) -> Read:
    """
    What templates see from inside `scope`: input, variables, the item of the iteration, ended steps of the sequence and
    around it; with `undoing`, also the step that is undone, and `error`, the failure because of which it is.
    """

    def read(variable: str) -> Payload:
        head, _, rest = variable.partition(".")
        if head == "steps":
            step_id, _, fact = rest.partition(".")
            return _fact_of(state, _visible(state.scopes_from(scope), step_id, undoing), fact)
        if head == "input":
            assert state.started is not None
            return state.started.input
        if head == "vars":
            return next((one.vars[rest] for one in state.scopes_from(scope) if rest in one.vars), NULL)
        if head in ("item", "index"):
            return _iteration(state, scope, head)
        if head == "error":
            return json_payload(_error(state.failure))
        return _execution(state)

    return read


def _execution(state: ExecutionState) -> Payload:
    return json_payload(
        {
            "id": state.execution_id,
            "namespace": state.namespace,
            "workflow": state.definition.name,
            "version": state.definition.version,
        }
    )


def _fact_of(state: ExecutionState, step: StepState | None, fact: str) -> Payload:
    if step is None:  # it has not begun: a step in front of us did not wait for it
        return NULL
    if fact == "output":
        return state.output_of(step)
    return json_payload(step.status.value if fact == "status" else _error(step.failure))


def _error(failure: Failure | None) -> dict[str, object] | None:
    if failure is None:
        return None
    return {
        "code": failure.code.name,
        "reason": failure.reason,
        "message": failure.message,
        "step_path": failure.step_path,
    }


def _iteration(state: ExecutionState, scope: Scope | None, fact: str) -> Payload:
    for one in state.scopes_from(scope):
        if fact == "item" and one.item is not None:
            return one.item
        if fact == "index" and one.index >= 0:
            return json_payload(one.index)
    raise KeyError(fact)


def _visible(scopes: Iterator[Scope], step_id: str, undoing: StepState | None) -> StepState | None:
    """The step of the nearest sequence that has one of this id, if it has ended."""
    if undoing is not None and undoing.step.id == step_id:
        return undoing
    for one in scopes:
        step = one.begun.get(step_id)
        if step is not None:
            return step if step.status.final else None
        if any(declared.id == step_id for declared in one.steps):
            return None
    return None
