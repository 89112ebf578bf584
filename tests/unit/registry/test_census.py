"""One instance too many is refused, whosoever it is one too many of."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from forgemesh.faults.registry import TooManyInstances
from forgemesh.registry.domain.census import Census, InstanceLimits
from forgemesh.registry.domain.instance import Instance, Registration


def instance(name: str, plugin: str = "weather.stats") -> Instance:
    return Instance(instance_id=name, plugin_id=plugin, plugin_version="1.0.0", address="127.0.0.1:7001")


def census(*, in_all: int = 99, per_peer: int = 99, per_plugin: int = 99) -> Census:
    return Census(InstanceLimits(in_all=in_all, per_peer=per_peer, per_plugin=per_plugin), {})


def register(counted: Census, wanted: Instance, peer: str) -> None:
    counted.admit(wanted, peer)
    counted.came(wanted, peer)


def test_one_more_than_there_may_be_is_refused_with_the_limit_and_the_setting() -> None:
    counted = census(in_all=2)
    register(counted, instance("a"), "10.0.0.1")
    register(counted, instance("b"), "10.0.0.2")

    with pytest.raises(TooManyInstances) as refused:
        register(counted, instance("c"), "10.0.0.3")

    assert refused.value.metadata == {"holder": "this registry", "limit": "2", "setting": "max_instances"}


def test_one_host_that_is_full_leaves_room_for_another_host() -> None:
    counted = census(per_peer=1)
    register(counted, instance("a"), "10.0.0.1")

    with pytest.raises(TooManyInstances, match=r"host 10\.0\.0\.1 has 1 instances.*max_instances_per_peer"):
        register(counted, instance("b"), "10.0.0.1")
    register(counted, instance("b"), "10.0.0.2")


def test_one_plugin_that_is_full_leaves_room_for_another_plugin() -> None:
    counted = census(per_plugin=1)
    register(counted, instance("a"), "10.0.0.1")

    with pytest.raises(TooManyInstances, match=r"plugin 'weather\.stats' has 1 .*max_instances_per_plugin"):
        register(counted, instance("b"), "10.0.0.2")
    register(counted, instance("b", "weather.report"), "10.0.0.2")


def test_an_instance_takes_its_own_place_again_however_full_it_is() -> None:
    counted = census(in_all=1, per_peer=1, per_plugin=1)
    register(counted, instance("a"), "10.0.0.1")

    register(counted, instance("a"), "10.0.0.1")

    with pytest.raises(TooManyInstances):
        register(counted, instance("b"), "10.0.0.1")


def test_a_place_is_free_again_once_its_instance_is_gone() -> None:
    counted = census(in_all=1, per_peer=1, per_plugin=1)
    register(counted, instance("a"), "10.0.0.1")

    counted.gone("a")

    register(counted, instance("b"), "10.0.0.1")


def test_an_instance_of_an_earlier_life_belongs_to_the_host_that_renews_it() -> None:
    stored = Registration(instance=instance("a"), incarnation=1, owner=b"", ttl=15.0, registered_at=0.0)
    counted = Census(InstanceLimits(in_all=9, per_peer=1, per_plugin=9), {"a": stored})

    counted.seen("a", "10.0.0.1")

    register(counted, instance("b"), "10.0.0.2")
    with pytest.raises(TooManyInstances):
        register(counted, instance("c"), "10.0.0.1")


def test_an_instance_that_moves_leaves_its_place_at_the_host_it_came_from() -> None:
    counted = census(per_peer=1)
    register(counted, instance("a"), "10.0.0.1")
    register(counted, instance("a"), "10.0.0.2")

    register(counted, instance("b"), "10.0.0.1")

    with pytest.raises(TooManyInstances):
        register(counted, instance("b"), "10.0.0.2")


NAMES = st.sampled_from("abcdef")
PEERS = st.sampled_from(["10.0.0.1", "10.0.0.2"])
PLUGINS = st.sampled_from(["one", "two"])


@given(st.lists(st.tuples(st.sampled_from(["come", "see", "go"]), NAMES, PEERS, PLUGINS), max_size=60))
def test_whatever_comes_and_goes_no_more_are_taken_than_the_limits_say(
    steps: list[tuple[str, str, str, str]],
) -> None:
    counted, there = census(in_all=4, per_peer=3, per_plugin=2), dict[str, tuple[str, str]]()
    for step, name, peer, plugin in steps:
        if step == "go":
            counted.gone(name)
            there.pop(name, None)
        elif step == "come":
            others = [one for other, one in there.items() if other != name]
            full = (
                len(others) >= 4
                or sum(one[0] == peer for one in others) >= 3
                or sum(one[1] == plugin for one in others) >= 2
            )
            try:
                register(counted, instance(name, plugin), peer)
                there[name] = peer, plugin
                assert not full
            except TooManyInstances:
                assert full
