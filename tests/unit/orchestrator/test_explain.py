import pytest

from forgemesh.orchestrator.domain.explain import explain
from forgemesh.orchestrator.domain.state import ExecutionState
from tests.unit.orchestrator.workflows import call, of_steps


@pytest.mark.parametrize("cause", ["the disk is full", "the disk is full; it goes on by itself"])
def test_that_a_suspended_execution_goes_on_by_itself_is_said_once(cause: str) -> None:
    state = ExecutionState("default", "e", of_steps(call("a")))

    explained = explain(state, now=0, known={}, suspended=cause, ahead=0)

    assert explained.hindrances[0].message == "the disk is full; it goes on by itself"
