from typing import Any

import pytest

from forgemesh.routing.eligibility import Exclusion, LocalView, Terms, exclusion
from forgemesh.routing.endpoint import Admission, CircuitState, CircuitView, Health
from tests.unit.routing.endpoints import endpoint

EVERYTHING_AGAINST_IT: list[tuple[Exclusion, dict[str, Any]]] = [
    (Exclusion.DRAINING, {"admission": Admission.DRAINING}),
    (Exclusion.FORCED_OPEN, {"circuit": CircuitView(CircuitState.FORCED_OPEN)}),
    (Exclusion.NOT_SERVING, {"health": Health.NOT_SERVING}),
    (Exclusion.CIRCUIT_OPEN, {"circuit": CircuitView(CircuitState.OPEN)}),
    (Exclusion.EJECTED, {"ejected": True}),
    (Exclusion.WEIGHTLESS, {"weight": 0}),
    (Exclusion.LOST, {}),
]


def unwanted(version: str) -> bool:
    return False


def test_a_serving_endpoint_with_room_is_eligible() -> None:
    assert exclusion(endpoint("a", max_in_flight=2), LocalView(in_flight={"a": 1})) is None


@pytest.mark.parametrize("first", range(len(EVERYTHING_AGAINST_IT)))
def test_the_first_reason_in_the_order_is_the_one_that_is_given(first: int) -> None:
    facts: dict[str, Any] = {}
    for _, fact in reversed(EVERYTHING_AGAINST_IT[first:]):
        facts |= fact
    local = LocalView(lost={("a", 1)}, tripped={("a", 1)}, full={"a"})

    terms = Terms(wanted=unwanted, tried={"a"}, weighs=True)

    assert exclusion(endpoint("a", **facts), local, terms) is EVERYTHING_AGAINST_IT[first][0]


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"admission": Admission.OUT}, Exclusion.ADMIN_OUT),
        ({"health": Health.UNCHECKED}, Exclusion.UNCHECKED),
        ({"health": Health.UNREACHABLE}, Exclusion.UNREACHABLE),
        ({"circuit": CircuitView(CircuitState.HALF_OPEN)}, Exclusion.TRIAL),
    ],
)
def test_other_states_that_exclude(facts: dict[str, Any], reason: Exclusion) -> None:
    assert exclusion(endpoint("a", **facts), LocalView()) is reason


def test_what_the_caller_holds_against_an_endpoint_has_an_order_too() -> None:
    tripped, full = LocalView(tripped={("a", 1)}, full={"a"}), LocalView(full={"a"})

    assert exclusion(endpoint("a"), tripped, Terms(wanted=unwanted)) is Exclusion.TRIPPED
    assert exclusion(endpoint("a"), full, Terms(wanted=unwanted, tried={"a"})) is Exclusion.VERSION
    assert exclusion(endpoint("a"), full, Terms(tried={"a"})) is Exclusion.TRIED
    assert exclusion(endpoint("a"), full) is Exclusion.FULL


def test_a_lost_connection_counts_against_its_own_incarnation_only() -> None:
    local = LocalView(lost={("a", 1)})

    assert exclusion(endpoint("a", incarnation=1), local) is Exclusion.LOST
    assert exclusion(endpoint("a", incarnation=2), local) is None


@pytest.mark.parametrize(
    ("limit", "in_flight", "room"), [(0, 10_000, True), (2, 1, True), (2, 2, False), (2, 3, False)]
)
def test_an_instance_is_full_at_its_limit(limit: int, in_flight: int, room: bool) -> None:
    excluded = exclusion(endpoint("a", max_in_flight=limit), LocalView(in_flight={"a": in_flight}))

    assert excluded is (None if room else Exclusion.FULL)
