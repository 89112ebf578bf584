from typing import Any

from hypothesis import given, strategies as st

from forgemesh.routing.eligibility import Exclusion, LocalView, Permit, RemoteLoad
from forgemesh.routing.endpoint import CircuitState, CircuitView, Health
from forgemesh.routing.pick import Picked
from forgemesh.routing.pick_explanation import PickExplanation, explain_pick
from forgemesh.routing.policy import OperationPolicy, Policy
from forgemesh.routing.round_robin import Turns
from forgemesh.routing.slow_start import SlowStart
from forgemesh.routing.snapshot import Snapshot
from tests.unit.routing.endpoints import endpoint, pick, snapshot


def test_every_instance_is_judged_in_order() -> None:
    at = snapshot(
        endpoint("d", weight=3, tier=1),
        endpoint("c", weight=2, warming_since=95.0),
        endpoint("b", circuit=CircuitView(CircuitState.HALF_OPEN, 4)),
        endpoint("a", health=Health.NOT_SERVING),
        operations={"count": OperationPolicy(pick=Policy.WEIGHTED_ROUND_ROBIN)},
        slow_start=SlowStart(window=10.0),
        load_memory=1.0,
    )
    local = LocalView(in_flight={"c": 2}, loads={"c": RemoteLoad(others=4, at=100.0)}, permits={"b": Permit("p", 1, 4)})

    assert explain_pick(at, local, operation="count", trial=True, now=100.0) == (
        PickExplanation("a", Exclusion.NOT_SERVING, 0, 1.0),
        PickExplanation("b", None, 0, 1.0),
        PickExplanation("c", None, 6, 1.0),
        PickExplanation("d", Exclusion.TIER, 0, 1.0),
    )
    assert explain_pick(at, local, now=100.0)[1].exclusion is Exclusion.TRIAL


def test_the_weight_is_the_one_that_the_policy_goes_by() -> None:
    at = snapshot(endpoint("a", weight=2), endpoint("b", weight=7), pick=Policy.RESOURCE_BASED)
    loads = {"a": RemoteLoad(weight=12.5), "b": RemoteLoad(weight=50.0)}

    assert [one.weight for one in explain_pick(at, LocalView(loads=loads))] == [12.5, 50.0]
    assert [one.weight for one in explain_pick(at, LocalView())] == [1.0, 1.0]


def test_an_empty_snapshot_has_nobody_to_judge() -> None:
    assert explain_pick(Snapshot.nothing("weather.stats"), LocalView()) == ()


endpoints = st.builds(
    endpoint,
    st.sampled_from("abcdef"),
    health=st.sampled_from([Health.SERVING, Health.SERVING, Health.NOT_SERVING]),
    circuit=st.builds(CircuitView, st.sampled_from(CircuitState)),
    ejected=st.booleans(),
    tier=st.integers(0, 1),
    weight=st.integers(-1, 3),
    max_in_flight=st.integers(0, 2),
    warming_since=st.none() | st.floats(90.0, 110.0),
)
views = st.fixed_dictionaries(
    {
        "in_flight": st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 3)),
        "lost": st.sets(st.tuples(st.sampled_from("abcdef"), st.just(1)), max_size=2),
        "tripped": st.sets(st.tuples(st.sampled_from("abcdef"), st.just(1)), max_size=2),
        "full": st.sets(st.sampled_from("abcdef"), max_size=2),
        "permits": st.dictionaries(st.sampled_from("abcdef"), st.just(Permit("p", 1, 0))),
        "loads": st.dictionaries(
            st.sampled_from("abcdef"),
            st.builds(RemoteLoad, st.integers(-1, 3), st.floats(90.0, 110.0), st.floats(allow_nan=True)),
        ),
    }
)


@given(
    st.lists(endpoints, unique_by=lambda one: one.instance_id, max_size=6),
    views,
    st.sampled_from(Policy),
    st.fixed_dictionaries({"exclude": st.frozensets(st.sampled_from("abcdef")), "trial": st.booleans()}),
    st.sampled_from(["", "key"]),
    st.sampled_from([0.0, 0.5]),
)
def test_what_is_picked_was_judged_eligible_and_nothing_else_is(
    given: list[Any], view: dict[str, Any], policy: Policy, terms: dict[str, Any], affinity: str, threshold: float
) -> None:
    at = snapshot(
        *given, pick=policy, panic_threshold=threshold, slow_start=SlowStart(window=10.0), hash_bound=2 * threshold
    )
    local = LocalView(**view)
    eligible = {one.instance_id for one in explain_pick(at, local, now=100.0, **terms) if one.exclusion is None}

    answer = pick(at, Turns(), local, affinity=affinity, now=100.0, draw=lambda: 0.7, **terms)

    assert isinstance(answer, Picked) == bool(eligible)
    if isinstance(answer, Picked):
        assert answer.endpoint.instance_id in eligible
        assert (answer.permit is not None) == (answer.endpoint.circuit.state is CircuitState.HALF_OPEN)
