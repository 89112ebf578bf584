from collections import Counter

import pytest

from forgemesh.routing.affinity import favourite, favourite_with_room
from forgemesh.routing.eligibility import LocalView, RemoteLoad
from forgemesh.routing.endpoint import Health
from forgemesh.routing.pick import Picked
from forgemesh.routing.policy import Policy
from forgemesh.routing.round_robin import Turns
from forgemesh.routing.snapshot import Snapshot
from tests.unit.routing.endpoints import Caller, endpoint, named, pick, snapshot

KEYS = [f"customer-{number}" for number in range(2000)]
FIVE = [endpoint(f"i-{number}") for number in range(5)]


def picked(at: Snapshot, key: str, local: LocalView | None = None, **terms: frozenset[str]) -> str:
    found = pick(at, Turns(), local or LocalView(), affinity=key, **terms)  # type: ignore[arg-type]
    assert isinstance(found, Picked)
    return found.endpoint.instance_id


def test_the_same_key_leads_to_the_same_instance_whoever_asks_and_in_whatever_order() -> None:
    for key in KEYS[:100]:
        assert favourite(key, FIVE) is favourite(key, FIVE[::-1])


def test_an_instance_that_leaves_moves_its_own_keys_alone() -> None:
    before = {key: favourite(key, FIVE).instance_id for key in KEYS}
    after = {key: favourite(key, FIVE[:2] + FIVE[3:]).instance_id for key in KEYS}

    moved = {key for key in KEYS if before[key] != after[key]}

    assert moved == {key for key in KEYS if before[key] == "i-2"}
    assert len({after[key] for key in moved}) == 4


def test_an_instance_that_starts_anew_finds_its_keys_again() -> None:
    restarted = [endpoint(one.instance_id, incarnation=9, address="elsewhere:1") for one in FIVE]

    assert [favourite(key, FIVE).instance_id for key in KEYS] == [favourite(key, restarted).instance_id for key in KEYS]


def test_keys_are_spread_evenly() -> None:
    shares = Counter(favourite(key, FIVE).instance_id for key in KEYS)

    assert len(shares) == 5
    assert max(abs(count - len(KEYS) / 5) for count in shares.values()) < 4 * (len(KEYS) * 0.2 * 0.8) ** 0.5


def test_a_key_never_leads_to_an_instance_that_is_not_eligible() -> None:
    home = picked(named("a", "b", "c"), "k")
    others = [one for one in "abc" if one != home]
    ill = snapshot(endpoint(home, health=Health.NOT_SERVING), *(endpoint(one) for one in others))

    places = [
        picked(ill, "k"),
        picked(named("a", "b", "c"), "k", LocalView(full={home})),
        picked(named("a", "b", "c"), "k", exclude=frozenset({home})),
    ]

    assert set(places) <= set(others)
    assert len(set(places)) == 1


def test_keys_take_nobodys_turn() -> None:
    turns = Turns({"a": 1, "b": -1})

    found = pick(named("a", "b"), turns, LocalView(), affinity="k")

    assert isinstance(found, Picked)
    assert found.cursor is turns


@pytest.mark.parametrize("policy", Policy)
def test_a_key_is_honoured_whatever_the_policy_is(policy: Policy) -> None:
    at = snapshot(*FIVE, pick=policy)

    assert [picked(at, key) for key in KEYS[:100]] == [favourite(key, FIVE).instance_id for key in KEYS[:100]]


def test_without_a_key_a_consistent_hash_takes_turns() -> None:
    at = snapshot(endpoint("a"), endpoint("b"), pick=Policy.CONSISTENT_HASH)

    assert Caller(at).choose(4) == "abab"


@pytest.mark.parametrize("count", [2, 5, 20])
def test_one_that_comes_or_leaves_moves_its_own_share_of_keys_alone(count: int) -> None:
    many = [endpoint(f"n-{number:02}") for number in range(count + 1)]
    before = {key: favourite(key, many[:count]) for key in KEYS}
    after = {key: favourite(key, many) for key in KEYS}

    moved = [key for key in KEYS if before[key] is not after[key]]
    share = 1 / (count + 1)
    assert all(after[key] is many[count] for key in moved)
    assert len(moved) / len(KEYS) <= share + 4 * (share * (1 - share) / len(KEYS)) ** 0.5


def test_an_instance_above_the_bound_passes_keys_on_to_the_next_in_their_order() -> None:
    home = picked(named("a", "b", "c"), "k")
    second = picked(named("a", "b", "c"), "k", exclude=frozenset({home}))
    at = snapshot(*(endpoint(name) for name in "abc"), hash_bound=1.2, load_memory=1.0)
    (third,) = set("abc") - {home, second}

    def where(now: float = 10.0, **in_flight: int) -> str:
        loads = {home: RemoteLoad(others=4, at=10.0)}
        answer = pick(at, Turns(), LocalView(in_flight=in_flight, loads=loads), affinity="k", now=now)
        assert isinstance(answer, Picked)
        return answer.endpoint.instance_id

    assert where(**{second: 4, third: 4}) == home
    assert where(**{second: 1, third: 1}) == second
    assert where(**{second: 4, third: 0}) == third
    assert where(now=20.0, **{second: 1, third: 1}) == home


def test_bounded_loads_stay_bounded_and_move_few_keys() -> None:
    bound, load = 1.25, Counter[str]()
    homes = {}
    for key in KEYS:
        homes[key] = favourite_with_room(key, FIVE, lambda one: load[one.instance_id], bound).instance_id
        load[homes[key]] += 1

        assert max(load.values()) <= max(1, bound * load.total() / 5 + 1)
    moved = [key for key in KEYS if homes[key] != favourite(key, FIVE).instance_id]
    assert len(moved) / len(KEYS) <= 1 / 5


@pytest.mark.parametrize("bound", [0.1, 1.0, float("nan"), -1.0])
def test_any_bound_finds_somebody(bound: float) -> None:
    at = snapshot(*FIVE, hash_bound=bound)
    local = LocalView(in_flight={one.instance_id: 3 for one in FIVE})

    assert picked(at, "k", local) == favourite("k", FIVE).instance_id


def test_an_idle_instance_takes_its_keys_however_low_the_bound() -> None:
    assert picked(snapshot(*FIVE, hash_bound=0.1), "k") == favourite("k", FIVE).instance_id
