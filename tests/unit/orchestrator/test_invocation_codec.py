from typing import Any

import pytest

from forgemesh.api.plugin.v1 import invocation_pb2
from forgemesh.orchestrator.dispatch.ports import Invocation
from forgemesh.orchestrator.dispatch.session.codec import write_invocation
from forgemesh.orchestrator.values.payload import NULL
from forgemesh.routing.eligibility import Permit


def invocation(**facts: Any) -> Invocation:
    known: dict[str, Any] = {
        "operation": "o",
        "input": NULL,
        "namespace": "default",
        "execution_id": "e",
        "step_path": "a",
        "attempt": 1,
        "traceparent": "",
        "remaining": 1.0,
        "run_id": "r",
    }
    return Invocation(**(known | facts))


def written(permit: Permit | None) -> invocation_pb2.Invocation:
    message = invocation_pb2.Invocation()
    write_invocation(message, invocation(permit=permit), 1, 7)
    return message


def test_a_trial_call_carries_its_permit_and_no_other_call_does() -> None:
    trial, ordinary = written(Permit("t", 7, 4)), written(None)

    assert (trial.permit.permit_id, trial.permit.generation, trial.incarnation) == ("t", 4, 7)
    assert not ordinary.HasField("permit")


@pytest.mark.parametrize("other", [{"namespace": "n"}, {"execution_id": "f"}, {"run_id": "s"}, {"step_path": "b"}])
def test_steps_of_different_runs_never_share_an_idempotency_key(other: dict[str, str]) -> None:
    assert invocation(**other).idempotency_key != invocation().idempotency_key


def test_all_attempts_at_a_step_share_their_idempotency_key() -> None:
    assert invocation(attempt=2).idempotency_key == invocation().idempotency_key


def test_an_execution_of_a_release_without_runs_keeps_the_keys_that_its_plugins_have_seen() -> None:
    assert invocation(run_id="").idempotency_key == "e/a"
