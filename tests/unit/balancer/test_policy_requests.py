from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest

from forgemesh.api.balancer.v1 import balancer_service_pb2 as service_pb, event_pb2, policy_pb2 as pb
from forgemesh.balancer.codec import policies
from forgemesh.balancer.domain.events import Author
from forgemesh.balancer.domain.policies import PolicyRecord, mistakes_of
from forgemesh.faults.service import InvalidRequest
from forgemesh.routing.circuit_rule import CircuitRule
from forgemesh.routing.outlier import OutlierRule
from forgemesh.routing.policy import DEFAULT, OperationPolicy, PluginPolicy, Policy

ALICE = event_pb2.Author(actor="alice", reason="less noise")


def request(**facts: Any) -> service_pb.SetPolicyRequest:
    policy = pb.PluginPolicy(**({"plugin_id": "weather.stats"} | facts))
    return service_pb.SetPolicyRequest(policy=policy, author=ALICE)


def refused(message: service_pb.SetPolicyRequest) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as found:
        policies.change(message)
    return {violation.field: violation.message for violation in found.value.violations}


def test_what_is_not_said_is_the_default_and_the_default_has_no_mistakes() -> None:
    assert policies.change(request()) == ("weather.stats", DEFAULT, None, Author("alice", "less noise"))
    assert list(mistakes_of(PluginPolicy(outliers=OutlierRule()))) == []


def test_what_is_said_counts() -> None:
    message = request(
        pick=pb.POLICY_LEAST_CONNECTIONS,
        operations={"render": pb.OperationPolicy(pick=pb.POLICY_CONSISTENT_HASH, slow_call_seconds=3)},
        circuit=pb.CircuitPolicy(open_seconds=10, permits=2),
        hash_bound=1.25,
    )
    message.expected_version = 4

    assert policies.change(message) == (
        "weather.stats",
        PluginPolicy(
            pick=Policy.LEAST_CONNECTIONS,
            operations={"render": OperationPolicy(pick=Policy.CONSISTENT_HASH, slow_call=3)},
            circuit=CircuitRule(open=10, permits=2),
            hash_bound=1.25,
        ),
        4,
        Author("alice", "less noise"),
    )


@pytest.mark.parametrize("number", [nan, inf, -inf, -0.1, 1.1])
def test_a_rate_is_a_number_from_0_to_1(number: float) -> None:
    circuit = pb.CircuitPolicy(failure_rate=number, slow_call_rate=number, jitter=number)

    assert refused(request(circuit=circuit)) == {
        "policy.circuit.failure_rate": f"must be from 0 to 1, not {number:g}",
        "policy.circuit.slow_call_rate": f"must be from 0 to 1, not {number:g}",
        "policy.circuit.jitter": f"must be from 0 to 1, not {number:g}",
    }


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("policy.circuit.slow_call_seconds", {"circuit": pb.CircuitPolicy(slow_call_seconds=0)}),
        ("policy.circuit.minimum_calls", {"circuit": pb.CircuitPolicy(minimum_calls=0)}),
        ("policy.circuit.consecutive_failures", {"circuit": pb.CircuitPolicy(consecutive_failures=2**32 - 1)}),
        ("policy.circuit.window_seconds", {"circuit": pb.CircuitPolicy(window_seconds=0)}),
        ("policy.circuit.window_calls", {"circuit": pb.CircuitPolicy(window_calls=5)}),
        ("policy.circuit.open_seconds", {"circuit": pb.CircuitPolicy(open_seconds=nan)}),
        ("policy.circuit.max_open_seconds", {"circuit": pb.CircuitPolicy(open_seconds=90)}),
        ("policy.circuit.backoff", {"circuit": pb.CircuitPolicy(backoff=0.5)}),
        ("policy.circuit.permits", {"circuit": pb.CircuitPolicy(permits=0)}),
        ("policy.circuit.permit_lease_seconds", {"circuit": pb.CircuitPolicy(permit_lease_seconds=0)}),
        ("policy.outliers.interval_seconds", {"outliers": pb.OutlierPolicy(interval_seconds=0)}),
        ("policy.outliers.max_ejected", {"outliers": pb.OutlierPolicy(max_ejected=2)}),
        ("policy.outliers.max_ejection_seconds", {"outliers": pb.OutlierPolicy(base_ejection_seconds=301)}),
        ("policy.outliers.minimum_instances", {"outliers": pb.OutlierPolicy(minimum_instances=0)}),
        ("policy.slow_start.window_seconds", {"slow_start": pb.SlowStart(window_seconds=-1)}),
        ("policy.slow_start.least", {"slow_start": pb.SlowStart(window_seconds=1, least=0)}),
        ("policy.slow_start.aggression", {"slow_start": pb.SlowStart(window_seconds=1, aggression=0)}),
        ("policy.retry_budget.share", {"retry_budget": pb.RetryBudget(share=nan)}),
        ("policy.retry_budget.least", {"retry_budget": pb.RetryBudget(least=0)}),
        ("policy.panic_threshold", {"panic_threshold": 50}),
        ("policy.load_memory_seconds", {"load_memory_seconds": 0}),
        ("policy.hash_bound", {"hash_bound": 0.5}),
        ("policy.pick", {"pick": 77}),
        ("policy.operations[render].pick", {"operations": {"render": pb.OperationPolicy(pick=77)}}),  # type: ignore[arg-type]
        (
            "policy.operations[render].slow_call_seconds",
            {"operations": {"render": pb.OperationPolicy(slow_call_seconds=0)}},
        ),
        (
            "policy.operations[render].hedge_after_seconds",
            {"operations": {"render": pb.OperationPolicy(hedge_after_seconds=-1)}},
        ),
        ("policy.operations[not an operation]", {"operations": {"not an operation": pb.OperationPolicy()}}),
        ("policy.operations[]", {"operations": {"": pb.OperationPolicy()}}),
        ("policy.plugin_id", {"plugin_id": ""}),
        ("policy.plugin_id", {"plugin_id": "x" * 129}),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(field: str, said: dict[str, Any]) -> None:
    assert list(refused(request(**said))) == [field]


def test_all_mistakes_are_told_at_once_that_of_a_missing_author_included() -> None:
    message = request(plugin_id="", panic_threshold=nan, circuit=pb.CircuitPolicy(permits=0, backoff=-1))
    message.author.Clear()

    assert sorted(refused(message)) == [
        "author.actor",
        "policy.circuit.backoff",
        "policy.circuit.permits",
        "policy.panic_threshold",
        "policy.plugin_id",
    ]


def test_a_record_names_its_author_unless_nobody_has_changed_it() -> None:
    changed = policies.record_to_message(PolicyRecord("weather.stats", DEFAULT, 2, Author("alice")))
    untouched = policies.record_to_message(PolicyRecord("weather.stats", DEFAULT))

    assert (changed.version, changed.author.actor) == (2, "alice")
    assert changed.policy.circuit.open_seconds == 30
    assert not untouched.HasField("author")
