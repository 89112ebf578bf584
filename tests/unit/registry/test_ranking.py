from collections import Counter
from typing import Any

import pytest
from hypothesis import given, strategies as st

from forgemesh.registry.domain.instance import Instance, Registration
from forgemesh.registry.domain.manifest import Manifest
from forgemesh.registry.domain.ranking import UNKNOWN, Candidate, Condition, Load, ranked

NOW = 1000.0


def candidate(instance_id: str, *, load: Load | None = None, objection: str = "", **facts: Any) -> Candidate:
    instance = Instance(
        instance_id=instance_id,
        plugin_id="weather.stats",
        plugin_version="1.0.0",
        address="127.0.0.1:7001",
        labels=facts.pop("labels", ()),
        zone=facts.pop("zone", ""),
    )
    at = facts.pop("registered_at", NOW)
    registration = Registration(instance=instance, incarnation=1, owner=b"", ttl=15.0, registered_at=at)
    return Candidate(registration, Manifest("weather.stats", "1.0.0", **facts), load or Load(), objection)


def order(*candidates: Candidate, prefer: tuple[tuple[Condition, int], ...] = (), turn: int = 0) -> list[str]:
    return [one.candidate.registration.instance.instance_id for one in ranked(candidates, prefer, NOW, turn)]


@pytest.mark.parametrize("lowest", [-(2**31), -7, 0])
def test_the_higher_priority_goes_first_whatever_the_numbers_are(lowest: int) -> None:
    assert order(candidate("a", priority=lowest), candidate("b", priority=lowest + 1)) == ["b", "a"]


def test_equal_ones_take_turns() -> None:
    firsts = Counter(order(*(candidate(name) for name in "abc"), turn=turn)[0] for turn in range(300))

    assert firsts == {"a": 100, "b": 100, "c": 100}


def test_what_was_measured_counts_before_what_is_claimed() -> None:
    boasts = (("success_rate", "1.0"), ("latency_p95_seconds", "0.001"))
    failing = candidate("a", metadata=boasts, load=Load(success_rate=0.2, latency=0.5))
    good = candidate("b", load=Load(success_rate=0.99, latency=0.05))

    assert order(failing, good) == ["b", "a"]
    assert order(candidate("a", metadata=boasts), candidate("b")) == ["a", "b"]


@pytest.mark.parametrize("claim", ["much", "-1", "inf", "nan", "7"])
def test_a_claim_that_is_no_share_is_none(claim: str) -> None:
    (one,) = ranked([candidate("a", metadata=(("success_rate", claim),))], (), NOW, 0)

    (part,) = [part for part in one.parts if part.name == "success_rate"]
    assert (part.value, part.source) == (UNKNOWN, "nothing is known")


def test_a_preference_decides_among_those_that_are_alike_and_weighs_what_it_is_told_to() -> None:
    north, fast = Condition(zone="north"), Condition(label=("disk", "ssd"))
    candidates = [candidate("a", zone="north"), candidate("b", labels=(("disk", "ssd"),))]

    assert order(*candidates, prefer=((north, 2), (fast, 1))) == ["a", "b"]
    assert order(*candidates, prefer=((north, 1), (fast, 2))) == ["b", "a"]


def test_a_condition_looks_at_labels_before_metadata_and_at_operations_and_zones() -> None:
    one = candidate("a", labels=(("tier", "gold"),), metadata=(("tier", "tin"), ("gpu", "1")), operations=("mean",))

    assert Condition(label=("tier", "gold")).holds(one)
    assert not Condition(label=("tier", "tin")).holds(one)
    assert Condition(label=("gpu", "")).holds(one)
    assert not Condition(label=("cpu", "")).holds(one)
    assert Condition(operation="mean").holds(one)
    assert not Condition(operation="max").holds(one)
    assert not Condition(zone="north").holds(one)


def test_those_that_would_not_be_called_come_last_however_good_they_are() -> None:
    assert order(candidate("a", priority=9, objection="it drains"), candidate("b")) == ["b", "a"]


candidates = st.builds(
    candidate,
    st.text("abcdef", min_size=1, max_size=6),
    load=st.builds(
        Load,
        st.none() | st.floats(0, 1),
        st.none() | st.floats(1e-6, 1e6),
        st.none() | st.floats(0, 1e6),
    ),
    priority=st.integers(-(2**31), 2**31 - 1),
    registered_at=st.floats(-1e12, 1e12),
)


@given(st.lists(candidates, max_size=8), st.integers(0, 1000))
def test_a_score_and_its_parts_lie_between_nothing_and_one_and_add_up(many: list[Candidate], turn: int) -> None:
    found = ranked(many, [(Condition(zone="north"), 3)], NOW, turn)

    assert len(found) == len(many)
    for one in found:
        assert all(0 <= part.value <= 1 for part in one.parts)
        total = sum(part.weight for part in one.parts)
        assert one.score == pytest.approx(sum(part.value * part.weight for part in one.parts) / total)
