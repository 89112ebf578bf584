from forgemesh.api.plugin.v1 import invocation_pb2
from forgemesh.orchestrator.adapters.invocation_codec import write_invocation
from forgemesh.orchestrator.domain.payload import NULL
from forgemesh.orchestrator.ports import Invocation
from forgemesh.routing.eligibility import Permit


def written(permit: Permit | None) -> invocation_pb2.Invocation:
    message = invocation_pb2.Invocation()
    invocation = Invocation(
        operation="o",
        input=NULL,
        namespace="default",
        execution_id="e",
        step_path="a",
        attempt=1,
        traceparent="",
        remaining=1.0,
        permit=permit,
    )
    write_invocation(message, invocation, 1, 7)
    return message


def test_a_trial_call_carries_its_permit_and_no_other_call_does() -> None:
    trial, ordinary = written(Permit("t", 7, 4)), written(None)

    assert (trial.permit.permit_id, trial.permit.generation, trial.incarnation) == ("t", 4, 7)
    assert not ordinary.HasField("permit")
