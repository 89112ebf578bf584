from collections import Counter

from forgemesh.routing.affinity import favourite
from forgemesh.routing.eligibility import LocalView
from forgemesh.routing.endpoint import Health
from forgemesh.routing.pick import Picked
from forgemesh.routing.round_robin import Turns
from forgemesh.routing.snapshot import Snapshot
from tests.unit.routing.endpoints import endpoint, named, pick, snapshot

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
