from forgemesh.api.balancer.v1 import policy_pb2 as pb
from forgemesh.feed.policies import policy_from_message, policy_to_message
from forgemesh.routing.circuit_rule import CircuitRule
from forgemesh.routing.outlier import OutlierRule
from forgemesh.routing.policy import DEFAULT, OperationPolicy, PluginPolicy, Policy
from forgemesh.routing.retry_budget import RetryBudget
from forgemesh.routing.slow_start import SlowStart


def test_what_is_not_set_means_its_default() -> None:
    assert policy_from_message(pb.PluginPolicy(plugin_id="p")) == DEFAULT


def test_a_policy_reads_as_it_was_written() -> None:
    policy = PluginPolicy(
        pick=Policy.RESOURCE_BASED,
        operations={
            "resize": OperationPolicy(pick=Policy.CONSISTENT_HASH, slow_call=3.0, hedge_after=0.0),
            "tile": OperationPolicy(),
        },
        circuit=CircuitRule(
            count_exceptions=True,
            consecutive_failures=0,
            failure_rate=0.25,
            slow_call_rate=0.5,
            permits=3,
            window_calls=100,
        ),
        outliers=OutlierRule(interval=5.0, max_ejected=0.25),
        slow_start=SlowStart(window=10.0, aggression=2.0),
        panic_threshold=0.5,
        retry_budget=RetryBudget(share=0.1, least=1),
        load_memory=0.5,
        hash_bound=1.25,
    )

    assert policy_from_message(policy_to_message(policy, "p")) == policy
