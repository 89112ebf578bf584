"""The answer to many starts."""

from dataclasses import replace

from forgemesh.chassis.channel import SESSION_LIMIT
from forgemesh.orchestrator.api.executions import execution_to_message
from forgemesh.orchestrator.api.started import StartedAnswer
from forgemesh.orchestrator.values.payload import Payload
from tests.unit.orchestrator.histories import History, broken
from tests.unit.orchestrator.workflows import call, of_steps


def ended(size: int) -> History:
    history = History(of_steps(call("a"), output="${steps.a.output}"))
    history.succeed("a", Payload(b'"' + b"x" * size + b'"'))
    return history


def test_every_start_comes_back_and_outputs_as_far_as_there_is_room() -> None:
    states = [ended(1_500_000).state for _ in range(4)] + [ended(10).state]
    answer = StartedAnswer(len(states), execution_to_message)
    for number, state in enumerate(states):
        answer.tell(number, (state, True))
    response, results = answer.response, answer.response.results

    assert response.ByteSize() < SESSION_LIMIT
    assert [result.started.execution.left_out for result in results] == [False, False, True, True, False]
    assert all(result.started.execution.execution_id == "e-1" for result in results)
    assert all(result.started.execution.status for result in results)


def test_a_thousand_long_refusals_fit_into_one_answer() -> None:
    long = replace(broken(), message="é" * 100_000, metadata={f"k{n}": "v" * 1000 for n in range(1000)})
    answer = StartedAnswer(1000, execution_to_message)
    for number in range(1000):
        answer.tell(number, long)
    response, results = answer.response, answer.response.results

    assert response.ByteSize() < SESSION_LIMIT
    assert all(result.refused.reason == "BROKEN" for result in results)


def test_an_answer_is_in_the_order_of_the_requests_whatever_came_first() -> None:
    answer = StartedAnswer(3, execution_to_message)
    answer.tell(2, broken())
    answer.tell(0, (ended(10).state, True))
    answer.tell(1, broken())

    assert [result.WhichOneof("outcome") for result in answer.response.results] == ["started", "refused", "refused"]
