import pytest

from forgemesh.routing.eligibility import Exclusion, LocalView, Permit, Terms, exclusion
from forgemesh.routing.endpoint import CircuitState, CircuitView, Endpoint, Health
from forgemesh.routing.pick import NoPickReason
from forgemesh.routing.policy import Policy
from forgemesh.routing.round_robin import Turns
from tests.unit.routing.endpoints import endpoint, pick, picked, refused, snapshot

PERMIT = Permit("p-1", incarnation=2, generation=7)


def half_open(name: str = "h", **facts: object) -> Endpoint:
    return endpoint(name, incarnation=2, circuit=CircuitView(CircuitState.HALF_OPEN, 7), **facts)


def holding(permit: Permit = PERMIT, name: str = "h", **view: object) -> LocalView:
    return LocalView(permits={name: permit}, **view)  # type: ignore[arg-type]


@pytest.mark.parametrize("policy", Policy)
def test_a_call_that_may_be_a_trial_makes_it_at_once_whatever_the_policy_is(policy: Policy) -> None:
    at = snapshot(endpoint("a"), half_open(tier=3, weight=5), endpoint("z"), pick=policy)

    answer = picked(pick(at, Turns(), holding(), trial=True))

    assert (answer.endpoint.instance_id, answer.permit, answer.policy) == ("h", PERMIT, policy)
    assert (answer.candidates, answer.eligible, answer.excluded) == (3, 2, ())


def test_other_calls_leave_the_permit_alone() -> None:
    answer = picked(pick(snapshot(endpoint("a"), half_open()), Turns(), holding()))

    assert (answer.endpoint.instance_id, answer.permit) == ("a", None)
    assert answer.excluded == (("h", Exclusion.TRIAL),)


@pytest.mark.parametrize(
    ("permit", "name"),
    [
        (Permit("p-1", incarnation=1, generation=7), "h"),
        (Permit("p-1", incarnation=2, generation=6), "h"),
        (Permit("p-1", incarnation=2, generation=8), "h"),
        (PERMIT, "other"),
    ],
)
def test_a_permit_is_for_one_instance_at_one_incarnation_and_generation(permit: Permit, name: str) -> None:
    answer = refused(pick(snapshot(half_open()), Turns(), holding(permit, name), trial=True))

    assert answer.reason is NoPickReason.CIRCUIT_OPEN


def test_a_permit_overrides_nothing_but_the_circuit() -> None:
    ill = half_open(health=Health.NOT_SERVING)
    forced = endpoint("h", incarnation=2, circuit=CircuitView(CircuitState.FORCED_OPEN, 7))
    opened = endpoint("h", incarnation=2, circuit=CircuitView(CircuitState.OPEN, 7))
    terms = Terms(trial=True)

    assert exclusion(half_open(), holding(), terms) is None
    assert exclusion(ill, holding(), terms) is Exclusion.NOT_SERVING
    assert exclusion(forced, holding(), terms) is Exclusion.FORCED_OPEN
    assert exclusion(opened, holding(), terms) is Exclusion.CIRCUIT_OPEN
    assert exclusion(half_open(ejected=True), holding(), terms) is Exclusion.EJECTED
    assert exclusion(half_open(), holding(lost={("h", 2)}), terms) is Exclusion.LOST
    assert exclusion(half_open(), holding(tripped={("h", 2)}), terms) is Exclusion.TRIPPED
    assert exclusion(half_open(), holding(full={"h"}), terms) is Exclusion.FULL
    assert exclusion(half_open(), holding(), Terms()) is Exclusion.TRIAL
    for one in (ill, forced, opened, half_open(ejected=True)):
        assert refused(pick(snapshot(one), Turns(), holding(), trial=True)).instances == 1


def test_a_retry_makes_a_trial_where_it_was_before_only_if_nobody_else_is_there() -> None:
    tried = frozenset({"h"})

    elsewhere = picked(pick(snapshot(endpoint("a"), half_open()), Turns(), holding(), trial=True, exclude=tried))
    alone = picked(pick(snapshot(half_open()), Turns(), holding(), trial=True, exclude=tried))

    assert (elsewhere.endpoint.instance_id, elsewhere.permit) == ("a", None)
    assert (alone.endpoint.instance_id, alone.permit) == ("h", PERMIT)


def test_a_key_makes_a_trial_only_at_its_home() -> None:
    at = snapshot(*(endpoint(name) for name in "abc"), half_open())
    whole = snapshot(*(endpoint(name) for name in "abch"))
    homes = {}
    for key in map(str, range(50)):
        homes[key] = picked(pick(whole, Turns(), LocalView(), affinity=key)).endpoint.instance_id
        answer = picked(pick(at, Turns(), holding(), affinity=key, trial=True))

        assert (answer.permit is not None) == (homes[key] == "h")
        assert homes[key] in ("h", answer.endpoint.instance_id)
    assert set(homes.values()) == set("abch")


def test_the_only_instance_is_the_home_of_every_key() -> None:
    assert picked(pick(snapshot(half_open()), Turns(), holding(), affinity="k", trial=True)).permit is PERMIT


def test_only_half_open_circuits_name_no_moment() -> None:
    answer = refused(pick(snapshot(half_open(), endpoint("z", health=Health.UNREACHABLE)), Turns(), LocalView()))

    assert (answer.reason, answer.retry_after, answer.instances) == (NoPickReason.CIRCUIT_OPEN, None, 1)
    assert answer.tripped == half_open()
    assert "see `forgemesh circuit list`" in answer.message
    assert answer.fault().retry_after is None


def open_circuit(name: str, until: float) -> Endpoint:
    return endpoint(name, circuit=CircuitView(CircuitState.OPEN, 1, open_until=until, traceparent=f"trace-{name}"))


def test_the_circuit_that_is_named_is_the_one_nearest_to_a_trial() -> None:
    forced = endpoint("f", circuit=CircuitView(CircuitState.FORCED_OPEN))
    circuits = [forced, open_circuit("a", 130.0), open_circuit("b", 112.0), half_open()]

    named = []
    for count in (4, 3, 2, 1):
        answer = refused(pick(snapshot(*circuits[:count]), Turns(), LocalView(), now=110.0))
        assert answer.tripped is not None
        named.append((answer.tripped.instance_id, answer.retry_after))

    assert named == [("h", 2.0), ("b", 2.0), ("a", 20.0), ("f", None)]


def test_a_moment_that_has_passed_is_not_waited_for() -> None:
    """The balancer has not said yet what follows."""
    answer = refused(pick(snapshot(open_circuit("a", 100.0)), Turns(), LocalView(), now=110.0))

    assert answer.retry_after is None
    assert answer.tripped is not None
    assert answer.tripped.circuit.traceparent == "trace-a"


def test_an_instance_that_failed_here_is_left_out_for_that_incarnation() -> None:
    local = LocalView(tripped={("a", 1)})

    answer = picked(pick(snapshot(endpoint("a"), endpoint("b")), Turns(), local))
    alone = refused(pick(snapshot(endpoint("a")), Turns(), local))

    assert answer.excluded == (("a", Exclusion.TRIPPED),)
    assert (alone.reason, alone.retry_after) == (NoPickReason.CIRCUIT_OPEN, None)
    assert picked(pick(snapshot(endpoint("a", incarnation=2)), Turns(), local)).endpoint.incarnation == 2


@pytest.mark.parametrize("state", [CircuitState.CLOSED, CircuitState.FORCED_CLOSED, CircuitState.METRICS_ONLY])
def test_circuits_that_let_everything_pass(state: CircuitState) -> None:
    assert picked(pick(snapshot(endpoint("a", circuit=CircuitView(state))), Turns(), LocalView())).permit is None
