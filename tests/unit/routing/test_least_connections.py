import random
from collections import Counter
from math import exp

import pytest

from forgemesh.routing.eligibility import Exclusion, LocalView, RemoteLoad, believed
from forgemesh.routing.least_connections import load_of
from forgemesh.routing.pick import NoPickReason
from forgemesh.routing.policy import Policy
from forgemesh.routing.round_robin import Turns
from forgemesh.routing.slow_start import SlowStart
from forgemesh.routing.snapshot import Snapshot
from tests.unit.routing.endpoints import Caller, endpoint, pick, picked, refused, snapshot

SEEDS = range(20)


def idle(count: int) -> Snapshot:
    return snapshot(*(endpoint(f"i-{number:03}") for number in range(count)), pick=Policy.LEAST_CONNECTIONS)


def two(**rules: object) -> Snapshot:
    return snapshot(endpoint("a"), endpoint("b"), pick=Policy.LEAST_CONNECTIONS, **rules)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("instances", "calls", "difference"), [(1, 50, 0), (2, 51, 1), (3, 100, 1), (10, 205, 1)])
def test_calls_at_once_on_idle_instances_are_spread(seed: int, instances: int, calls: int, difference: int) -> None:
    caller = Caller(idle(instances), random.Random(seed).random)
    for _ in range(calls):
        caller.send()

    counts = [caller.in_flight.get(endpoint.instance_id, 0) for endpoint in caller.at.endpoints]
    assert max(counts) - min(counts) <= difference, f"seed {seed}"
    assert sum(counts) == calls


@pytest.mark.parametrize("seed", range(3))
def test_a_hundred_instances_share_a_hundred_thousand_calls_evenly(seed: int) -> None:
    caller = Caller(idle(100), random.Random(seed).random)
    for _ in range(100_000):
        caller.send()

    counts = caller.in_flight.values()
    assert max(abs(count - 1000) for count in counts) <= 1, f"seed {seed}"


def test_the_pair_is_never_the_same_instance_twice() -> None:
    caller = Caller(idle(2), random.Random(1).random)
    caller.in_flight["i-000"] = 1

    assert {caller.choose(1) for _ in range(200)} == {"i-001"}


def test_those_that_are_alike_take_turns_and_chance_says_who_begins() -> None:
    begins = {Caller(idle(3), random.Random(seed).random).choose(1) for seed in SEEDS}
    chosen = Caller(two(), random.Random(7).random).choose(100)

    assert begins == {"i-000", "i-001", "i-002"}
    assert chosen in ("ab" * 50, "ba" * 50)


def test_callers_that_know_nothing_of_one_another_do_not_gather() -> None:
    seed = 11
    random_draw = random.Random(seed).random
    counts = Counter(Caller(idle(10), random_draw).choose(1) for _ in range(10_000))

    assert max(abs(count - 1_000) for count in counts.values()) < 4 * 30, f"seed {seed}"


@pytest.mark.parametrize(
    ("mine", "weights", "chosen"),
    [
        ((1, 2), (1, 1), "a"),
        ((2, 1), (1, 1), "b"),
        ((1, 2), (1, 2), "ab"),
        ((3, 2), (1, 1), "b"),
        ((3, 5), (1, 2), "b"),
        ((0, 0), (1, 2), "b"),
        ((0, 0), (0, 1), "b"),
    ],
)
def test_load_counts_for_its_weight(mine: tuple[int, int], weights: tuple[int, int], chosen: str) -> None:
    """(1 + 1) / 1 and (2 + 1) / 2 favour b; see the third row, where the draw does not matter."""
    caller = Caller(
        snapshot(
            *(endpoint(name, weight=weight) for name, weight in zip("ab", weights, strict=True)),
            pick=Policy.LEAST_CONNECTIONS,
        ),
        random.Random(3).random,
    )
    caller.in_flight |= dict(zip("ab", mine, strict=True))

    assert set(caller.choose(50)) <= set(chosen)


def test_with_weights_of_one_and_two_every_third_call_goes_to_the_lighter() -> None:
    at = snapshot(endpoint("a"), endpoint("b", weight=2), pick=Policy.LEAST_CONNECTIONS)
    caller = Caller(at, random.Random(5).random)
    for _ in range(300):
        caller.send()

    assert abs(caller.in_flight["a"] - 100) <= 1


def test_what_others_do_is_believed_less_the_older_it_is() -> None:
    caller = Caller(two(load_memory=0.25), random.Random(1).random)
    caller.in_flight["b"] = 2
    caller.loads["a"] = RemoteLoad(others=5, at=10.0)

    assert set(caller.choose(20, now=10.0)) == {"b"}
    assert set(caller.choose(20, now=10.5)) == {"a"}
    assert believed(caller.loads["a"], 0.25, 10.5) == pytest.approx(5 * exp(-2))


@pytest.mark.parametrize(
    "load",
    [None, RemoteLoad(others=-7, at=10.0), RemoteLoad(others=0, at=10.0)],
)
def test_counts_that_cannot_be_are_none(load: RemoteLoad | None) -> None:
    assert believed(load, 0.25, 10.0) == 0.0


def test_a_count_from_the_future_is_one_of_now_and_without_memory_others_are_forgotten() -> None:
    load = RemoteLoad(others=5, at=1000.0)

    assert believed(load, 0.25, 10.0) == 5.0
    assert believed(load, 0.0, 1000.0) == 0.0
    assert load_of(endpoint("a"), LocalView({"a": 2}, loads={"a": load}), 0.25, 1000.0) == 7.0


def test_an_instance_is_full_of_everybodys_calls() -> None:
    at = snapshot(endpoint("a", max_in_flight=4), pick=Policy.LEAST_CONNECTIONS, load_memory=1.0)
    local = LocalView(in_flight={"a": 1}, loads={"a": RemoteLoad(others=3, at=10.0)})

    answer = refused(pick(at, Turns(), local, now=10.0))
    assert answer.reason is NoPickReason.ALL_FULL
    assert answer.excluded == (("a", Exclusion.FULL),)
    assert picked(pick(at, Turns(start=1), local, now=10.1)).endpoint.instance_id == "a"


def test_who_warms_up_gets_fewer_calls() -> None:
    at = snapshot(
        endpoint("a"),
        endpoint("b", warming_since=100.0),
        pick=Policy.LEAST_CONNECTIONS,
        slow_start=SlowStart(window=10.0),
    )
    caller = Caller(at, random.Random(2).random)
    for _ in range(110):
        caller.send(now=101.0)

    assert abs(caller.in_flight["b"] - 10) <= 1


def test_only_eligible_ones_are_in_the_pair() -> None:
    caller = Caller(idle(5), random.Random(2).random)

    chosen = Counter(caller.choose(1, exclude=frozenset({"i-001", "i-004"})) for _ in range(300))

    assert set(chosen) == {"i-000", "i-002", "i-003"}
