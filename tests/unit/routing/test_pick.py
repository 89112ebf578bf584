import random

import pytest
from hypothesis import given, strategies as st

from forgemesh.faults.routing import AllFull, CircuitOpen, NoneHealthy, NotRegistered
from forgemesh.routing.eligibility import Exclusion, LocalView, RemoteLoad, Terms, exclusion
from forgemesh.routing.endpoint import Admission, CircuitState, CircuitView, Endpoint, Health
from forgemesh.routing.pick import LISTED, NoPick, NoPickReason
from forgemesh.routing.policy import OperationPolicy, Policy
from forgemesh.routing.round_robin import Turns
from forgemesh.routing.snapshot import Revision, Snapshot
from tests.unit.routing.endpoints import Caller, endpoint, named, pick, picked, refused, snapshot

ALONE = LocalView()


def test_a_cursor_leads_from_one_endpoint_to_the_next() -> None:
    cursor, chosen = Turns(), []
    for _ in range(4):
        answer = picked(pick(named("a", "b"), cursor, ALONE))
        cursor = answer.cursor
        chosen.append(answer.endpoint.instance_id)

    assert chosen == ["a", "b", "a", "b"]


def test_a_pick_explains_itself() -> None:
    answer = picked(
        pick(
            snapshot(endpoint("a", health=Health.UNREACHABLE), endpoint("b"), endpoint("c"), endpoint("d", tier=1)),
            Turns(),
            LocalView(full={"c"}),
        )
    )

    assert (answer.candidates, answer.eligible) == (4, 1)
    assert answer.excluded == (
        ("a", Exclusion.UNREACHABLE),
        ("c", Exclusion.FULL),
        ("d", Exclusion.TIER),
    )


def test_an_explanation_has_bounds() -> None:
    many = [endpoint(f"i-{number:03}", health=Health.NOT_SERVING) for number in range(100)]

    assert len(picked(pick(snapshot(endpoint("a"), *many), Turns(), ALONE)).excluded) == LISTED
    assert len(refused(pick(snapshot(*many), Turns(), ALONE)).excluded) == LISTED


def test_a_higher_tier_is_used_only_when_the_lower_one_has_nobody() -> None:
    both = snapshot(endpoint("a", tier=1), endpoint("b", tier=0))

    assert picked(pick(both, Turns(), ALONE)).endpoint.instance_id == "b"
    assert picked(pick(both, Turns(), LocalView(full={"b"}))).endpoint.instance_id == "a"


def test_an_instance_that_was_tried_is_avoided_even_for_one_of_a_higher_tier() -> None:
    both = snapshot(endpoint("a", tier=1), endpoint("b", tier=0))

    answer = picked(pick(both, Turns(), ALONE, exclude=frozenset({"b"})))

    assert answer.endpoint.instance_id == "a"
    assert answer.excluded == (("b", Exclusion.TRIED),)


def test_when_all_were_tried_they_are_tried_again() -> None:
    answer = picked(pick(named("a", "b"), Turns(), ALONE, exclude=frozenset("ab")))

    assert answer.eligible == 2


def test_when_the_untried_ones_cannot_take_it_a_tried_one_does() -> None:
    answer = picked(pick(named("a", "b"), Turns(), LocalView(full={"b"}), exclude=frozenset("a")))

    assert answer.endpoint.instance_id == "a"


def test_only_wanted_versions_are_picked() -> None:
    both = snapshot(endpoint("a", plugin_version="1.9.0"), endpoint("b", plugin_version="2.0.0"))

    answer = picked(pick(both, Turns(), ALONE, wanted=lambda version: version.startswith("2.")))

    assert answer.endpoint.instance_id == "b"
    assert answer.excluded == (("a", Exclusion.VERSION),)


def test_no_instance_at_all_is_not_registered() -> None:
    answer = refused(pick(Snapshot.nothing("weather.stats"), Turns(), ALONE))

    assert answer.reason is NoPickReason.NOT_REGISTERED
    assert isinstance(answer.fault(), NotRegistered)
    assert "no instance of 'weather.stats' is registered" in answer.message


def test_only_unwanted_versions_is_not_registered_and_names_them() -> None:
    there = snapshot(endpoint("a", plugin_version="1.9.0"), endpoint("b", plugin_version="1.8.0"))

    answer = refused(pick(there, Turns(), ALONE, wanted=lambda version: version.startswith("2.")))

    assert answer.reason is NoPickReason.NOT_REGISTERED
    assert "only 1.8.0, 1.9.0" in answer.message


@pytest.mark.parametrize(
    "unfit",
    [
        endpoint("a", health=Health.NOT_SERVING),
        endpoint("a", health=Health.UNREACHABLE),
        endpoint("a", health=Health.UNCHECKED),
        endpoint("a", admission=Admission.DRAINING),
    ],
)
def test_an_instance_that_does_not_serve_is_none_healthy(unfit: Endpoint) -> None:
    answer = refused(pick(snapshot(unfit), Turns(), ALONE))

    assert answer.reason is NoPickReason.NONE_HEALTHY
    assert isinstance(answer.fault(), NoneHealthy)
    assert answer.retry_after is None


def test_a_lost_connection_is_none_healthy_until_the_next_incarnation() -> None:
    local = LocalView(lost={("a", 1)})

    assert refused(pick(named("a"), Turns(), local)).reason is NoPickReason.NONE_HEALTHY
    assert picked(pick(snapshot(endpoint("a", incarnation=2)), Turns(), local)).endpoint.incarnation == 2


def test_open_circuits_say_when_the_first_of_them_lets_a_trial_call_through() -> None:
    tripped = snapshot(
        endpoint("a", circuit=CircuitView(CircuitState.OPEN, 3, open_until=130.0)),
        endpoint("b", circuit=CircuitView(CircuitState.OPEN, 1, open_until=112.5)),
        endpoint("c", health=Health.NOT_SERVING),
    )

    answer = refused(pick(tripped, Turns(), ALONE, now=110.0))

    assert answer.reason is NoPickReason.CIRCUIT_OPEN
    assert answer.retry_after == 2.5
    assert isinstance(answer.fault(), CircuitOpen)
    assert answer.fault().retry_after == 2.5


def test_circuits_that_were_forced_open_are_said_to_be_so_unless_another_one_may_close_by_itself() -> None:
    forced = endpoint("a", circuit=CircuitView(CircuitState.FORCED_OPEN, 3))
    half_open = endpoint("b", circuit=CircuitView(CircuitState.HALF_OPEN, 2))

    alone = refused(pick(snapshot(forced), Turns(), ALONE))
    beside = refused(pick(snapshot(forced, half_open), Turns(), ALONE))

    assert (alone.reason, beside.reason) == (NoPickReason.CIRCUIT_OPEN, NoPickReason.CIRCUIT_OPEN)
    assert "forced open" in alone.message
    assert "forgemesh circuit reset" in alone.message
    assert "forced open" not in beside.message


def test_full_ones_hide_what_is_wrong_with_the_others() -> None:
    crowded = snapshot(
        endpoint("a", max_in_flight=1),
        endpoint("b"),
        endpoint("c", circuit=CircuitView(CircuitState.OPEN)),
        endpoint("d", health=Health.UNREACHABLE),
    )

    answer = refused(pick(crowded, Turns(), LocalView(in_flight={"a": 1}, full={"b"})))

    assert answer.reason is NoPickReason.ALL_FULL
    assert isinstance(answer.fault(), AllFull)
    assert answer.fault().metadata["instances"] == "2"


def test_a_caller_may_change_the_collections_of_its_view() -> None:
    full: set[str] = set()
    local = LocalView(full=full)
    full.add("a")

    assert refused(pick(named("a"), Turns(), local)).reason is NoPickReason.ALL_FULL


def test_accounts_of_instances_that_are_gone_do_not_pile_up() -> None:
    cursor = Turns()
    for start in range(200):
        cursor = picked(pick(named(f"i-{start}", f"i-{start + 1}"), cursor, ALONE)).cursor

    assert len(cursor.owed) <= 4


def test_revisions_are_compared_by_epoch_first() -> None:
    assert Revision(1, 900) < Revision(2, 1)


def test_a_snapshot_orders_its_endpoints() -> None:
    assert [e.instance_id for e in named("b", "c", "a").endpoints] == ["a", "b", "c"]


endpoints = st.builds(
    endpoint,
    st.sampled_from("abcdef"),
    health=st.sampled_from(Health),
    admission=st.sampled_from(Admission),
    circuit=st.builds(CircuitView, st.sampled_from(CircuitState)),
    tier=st.integers(0, 1),
    max_in_flight=st.integers(0, 2),
    plugin_version=st.sampled_from(["1.0.0", "2.0.0"]),
)
views = st.builds(
    LocalView,
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 3)),
    st.sets(st.tuples(st.sampled_from("abcdef"), st.just(1))),
    st.sets(st.sampled_from("abcdef")),
)


@given(
    st.lists(endpoints, unique_by=lambda e: e.instance_id, max_size=6),
    views,
    st.frozensets(st.sampled_from("abcdef")),
    st.booleans(),
)
def test_a_pick_agrees_with_the_table(
    given: list[Endpoint], local: LocalView, exclude: frozenset[str], choosy: bool
) -> None:
    def wanted(version: str) -> bool:
        return not choosy or version == "1.0.0"

    fit = {e.instance_id: e for e in given if exclusion(e, local, Terms(wanted)) is None}
    fresh = {name: e for name, e in fit.items() if name not in exclude} or fit
    best = {name for name, e in fresh.items() if e.tier == min(other.tier for other in fresh.values())}

    answer = pick(snapshot(*given), Turns(), local, wanted=wanted, exclude=exclude)

    if best:
        assert picked(answer).endpoint.instance_id in best
        assert picked(answer).eligible == len(best)
    else:
        assert isinstance(answer, NoPick)


def test_a_plugin_whose_every_instance_crashed_too_often_is_refused_with_the_cause() -> None:
    gone = [endpoint(name, admission=Admission.CRASH_LOOP, admission_reason="exit code 3") for name in ("a", "b")]

    answer = refused(pick(snapshot(*gone), Turns(), ALONE))

    assert (answer.reason, answer.passes) == (NoPickReason.CRASH_LOOP, False)
    assert "exit code 3" in answer.message
    assert "forgemesh plugin reset b" in answer.message
    one_left = refused(pick(snapshot(gone[0], endpoint("b", health=Health.UNREACHABLE)), Turns(), ALONE))
    assert (one_left.reason, one_left.passes) == (NoPickReason.NONE_HEALTHY, True)


@pytest.mark.parametrize("policy", Policy)
def test_ten_thousand_instances_are_picked_from_like_three(policy: Policy) -> None:
    many = snapshot(*(endpoint(f"i-{number:05}") for number in range(10_000)), pick=policy)
    caller = Caller(many, draw=random.Random(7).random)

    assert len({caller.send() for _ in range(20)}) == 20


@pytest.mark.parametrize("policy", Policy)
def test_nobody_is_picked_from_an_empty_snapshot_and_the_only_one_from_one_of_one(policy: Policy) -> None:
    local = LocalView(in_flight={"a": 10_000}, loads={"a": RemoteLoad(others=10**9, weight=5.0)})
    alone = snapshot(endpoint("a", max_in_flight=0), pick=policy)

    assert refused(pick(snapshot(pick=policy), Turns(), local)).reason is NoPickReason.NOT_REGISTERED
    assert picked(pick(alone, Turns(start=1), local)).endpoint.instance_id == "a"


def test_an_operation_may_have_a_policy_of_its_own() -> None:
    at = snapshot(
        endpoint("a", weight=3),
        endpoint("b"),
        operations={"count": OperationPolicy(pick=Policy.WEIGHTED_ROUND_ROBIN), "sum": OperationPolicy()},
    )

    answers = [picked(pick(at, Turns(), ALONE, operation=name)).policy for name in ("count", "sum", "")]

    assert answers == [Policy.WEIGHTED_ROUND_ROBIN, Policy.ROUND_ROBIN, Policy.ROUND_ROBIN]
    assert Caller(at).choose(8, operation="count").count("a") == 6
