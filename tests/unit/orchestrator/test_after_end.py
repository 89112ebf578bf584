"""An end is an end: no fact is folded into an execution that has ended."""

from typing import Any, get_args

import msgspec
import pytest

from forgemesh.faults.control import ExecutionTerminated
from forgemesh.orchestrator.execution import control, facts as e
from forgemesh.orchestrator.execution.decide import advance, record
from forgemesh.orchestrator.execution.fold import AfterEnd, apply, fold, restore
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.values.failure import failure_of
from forgemesh.orchestrator.values.payload import NULL
from tests.unit.orchestrator.histories import DISPATCH, History, broken, picture
from tests.unit.orchestrator.workflows import call, of_steps

KINDS = get_args(e.Fact)
GIVEN: dict[str, Any] = {
    "path": "a",
    "origin_path": "a",
    "attempt": 1,
    "failure": broken(),
    "output": NULL,
    "payload": NULL,
    "dispatch": DISPATCH,
    "action": "retry",
    "values": {},
    "name": "go",
    "reason": "r",
    "message": "m",
    "orchestrator_id": "o",
    "epoch": 2,
    "workflow": "w",
    "workflow_version": "1.0.0",
    "content_hash": "h",
    "input": NULL,
    "trace_id": b"t" * 16,
    "child_id": "c",
    "command": "cancel",
    "index": 0,
}


def some(kind: type[Any]) -> Any:
    needed = [field.name for field in msgspec.structs.fields(kind) if field.required]
    return kind(**{name: GIVEN[name] for name in needed})


def succeeded() -> History:
    history = History(of_steps(call("a")))
    history.succeed("a")
    return history


def failed() -> History:
    history = History(of_steps(call("a")))
    history.fail("a", broken())
    return history


def terminated() -> History:
    history = History(of_steps(call("a")))
    history.turn(e.ExecutionFailed(failure_of(ExecutionTerminated("e-1", "me", "")), "TERMINATED"))
    return history


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("end", [succeeded, failed, terminated])
def test_no_kind_of_fact_follows_an_end(end: Any, kind: type[Any]) -> None:
    history = end()
    before = picture(history.state)

    with pytest.raises(AfterEnd):
        record(history.state, some(kind), history.now)

    assert picture(history.state) == before


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("end", [succeeded, failed, terminated])
def test_what_a_stored_history_has_behind_its_end_only_counts(end: Any, kind: type[Any]) -> None:
    history = end()
    ended = history.state
    behind = e.Event(ended.sequence + 1, history.now + 1, some(kind))

    healed = fold("default", "e-1", history.definition, [*history.events, behind])

    assert healed.sequence == ended.sequence + 1
    healed.sequence = ended.sequence
    assert picture(healed) == picture(ended)
    assert advance(healed, history.now + 2) == []


def test_a_gap_behind_the_end_is_a_gap() -> None:
    history = succeeded()

    with pytest.raises(ValueError, match="cannot follow"):
        restore(history.state, e.Event(history.state.sequence + 2, history.now, e.ExecutionAdmitted()))


def test_events_of_a_history_are_counted_from_the_first() -> None:
    history = succeeded()
    history.state.ended = None

    with pytest.raises(ValueError, match="cannot follow"):
        apply(history.state, e.Event(1, history.now, e.ExecutionAdmitted()))


def test_whoever_ends_an_ended_one_again_changes_nothing() -> None:
    history = terminated()

    assert control.terminate(history.state, "me", "") == ()
    assert history.state.status is Status.TERMINATED
