"""Forks of executions that are driven by hand."""

from __future__ import annotations

from collections.abc import Sequence

from forgemesh.orchestrator.execution import control, facts as e
from forgemesh.orchestrator.execution.fold import apply
from forgemesh.orchestrator.execution.forking import Holder, takeover
from forgemesh.orchestrator.execution.state import ExecutionState
from forgemesh.orchestrator.values.payload import Payload, json_payload
from forgemesh.orchestrator.workflow.definition import Definition
from tests.unit.orchestrator.histories import History, broken
from tests.unit.orchestrator.workflows import call, map_, of_steps

UNDO = {"plugin": "p", "operation": "undo", "input": {"of": "${input.n}", "who": "${execution.id}"}}


def remembered(history: History, upto: int | None = None) -> ExecutionState:
    state = ExecutionState("default", history.state.execution_id, history.definition, remember=True)
    events = history.events if upto is None else history.events[:upto]
    for event in events:
        apply(state, event)
    return state


def _payload(given: object) -> Payload | None:
    return None if given is None else json_payload(given)


def taken(
    origin: History,
    target: Definition | None = None,
    *,
    rerun: Sequence[str] = (),
    upto: int | None = None,
    holders: dict[str, Holder] | None = None,
    given: object = None,
) -> list[e.Fact]:
    state, newest = remembered(origin, upto), remembered(origin)
    wanted = target or origin.definition
    return takeover(state, newest, wanted, rerun, holders=holders or {}, given=_payload(given))


def forked(origin: History, target: Definition | None = None, given: object = None, **more: object) -> History:
    """A fork, of an input of its own if `given` is one."""
    facts = taken(origin, target, given=given, **more)  # type: ignore[arg-type]
    assert origin.state.started is not None
    own = origin.state.started.input.value() if given is None else given
    came_from = e.Origin(forked_from=origin.state.execution_id, forked_run="run")
    return History(target or origin.definition, own, facts, came_from, f"f-of-{origin.state.execution_id}")


def results(facts: Sequence[e.Fact]) -> list[str]:
    return [fact.path for fact in facts if isinstance(fact, e.ResultTaken)]


def effects(facts: Sequence[e.Fact]) -> list[str]:
    return [fact.path for fact in facts if isinstance(fact, e.EffectTaken)]


def terminated(history: History) -> History:
    history.turn(*control.terminate(history.state, "somebody", ""))
    return history


def two() -> History:
    """`a` and `b` succeeded, in that order, and can be undone; `c` runs."""
    history = History(of_steps(call("a", compensate=UNDO), call("b", compensate=UNDO), call("c")), {"n": 1})
    history.succeed("a", "of a")
    history.succeed("b", "of b")
    return history


def undone_by(history: History) -> list[str]:
    """Fail what runs, let everything be undone, and say what was, in order."""
    for path in history.open:
        if not path.endswith(":compensate"):
            history.fail(path, broken())
    order: list[str] = []
    while history.open:
        order.append(history.open[0])
        history.succeed(history.open[0])
    assert history.state.status.value == "COMPENSATED"
    assert history.refolded().status == history.state.status
    return [path.removesuffix(":compensate") for path in order]


def half_done_map(items: list[object], done: dict[int, object]) -> History:
    inner = {"plugin": "p", "operation": "undo", "input": {"of": "${item}"}}
    steps = map_("m", "${input.items}", call("x", input="${item}", compensate=inner), call("y", input="${item}"))
    origin = History(of_steps(steps, output="${steps.m.output}"), {"items": items})
    for number, output in done.items():
        origin.succeed(f"m/{number}/x", output)
    return terminated(origin)
