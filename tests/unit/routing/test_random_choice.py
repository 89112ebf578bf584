from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import pytest
from hypothesis import given, strategies as st

from forgemesh.routing.eligibility import LocalView
from forgemesh.routing.policy import Policy
from forgemesh.routing.random_choice import drawn
from forgemesh.routing.round_robin import Turns
from tests.unit.routing.endpoints import endpoint, pick, picked, snapshot

NAMES = "abcdefgh"


def draws(*numbers: float) -> list[Callable[[], float]]:
    """Each gives its number."""
    return [partial(float, number) for number in numbers]


def evenly(count: int) -> list[Callable[[], float]]:
    """So many draws in [0, 1) that stand for chance, each as likely as the others."""
    return draws(*((number + 0.5) / count for number in range(count)))


@pytest.mark.parametrize("weights", [(1, 1, 1), (5, 1, 1), (1, 2, 3, 4), (7,), (0.5, 1.5)])
def test_each_is_drawn_as_often_as_its_weight_says(weights: Sequence[float]) -> None:
    among = [endpoint(name) for name in NAMES[: len(weights)]]

    counted = Counter(drawn(among, weights, draw).instance_id for draw in evenly(12_000))

    for one, weight in zip(among, weights, strict=True):
        assert abs(counted[one.instance_id] - 12_000 * weight / sum(weights)) <= 1


def test_equal_weights_need_no_sum() -> None:
    among = [endpoint(name) for name in "abc"]

    assert "".join(drawn(among, None, draw).instance_id for draw in evenly(6)) == "aabbcc"


@given(st.lists(st.floats(1e-6, 1e12), min_size=1, max_size=8), st.floats(0, 1, exclude_max=True))
def test_whatever_is_drawn_somebody_is_chosen(weights: list[float], draw: float) -> None:
    among = [endpoint(name) for name in NAMES[: len(weights)]]

    assert drawn(among, weights, lambda: draw) in among


def test_a_draw_decides_and_no_pick_depends_on_the_one_before() -> None:
    at = snapshot(endpoint("a", weight=3), endpoint("b", weight=1), pick=Policy.RANDOM)
    turns = Turns()

    answers = [picked(pick(at, turns, LocalView(), draw=draw)) for draw in draws(0.74, 0.76, 0.74)]

    assert [one.endpoint.instance_id for one in answers] == ["a", "b", "a"]
    assert [one.cursor for one in answers] == [turns] * 3


def test_nobody_without_weight_is_drawn() -> None:
    at = snapshot(endpoint("a", weight=0), endpoint("b", weight=1), pick=Policy.RANDOM)

    assert {picked(pick(at, Turns(), LocalView(), draw=draw)).endpoint.instance_id for draw in evenly(20)} == {"b"}
