from __future__ import annotations

from collections.abc import Mapping

import pytest

from forgemesh.balancer.application.callers.callers import PATIENCE, Callers
from forgemesh.balancer.application.callers.demands import IN_VAIN, MOST_IN_VAIN, RECENT, SETTLING, Demands
from forgemesh.balancer.domain.caller import Caller, Told
from forgemesh.balancer.domain.fleet import Fleet
from forgemesh.faults.routing import BalancerWarming
from forgemesh.routing.outcome import CallCounts, CountKey
from forgemesh.routing.scaling import Demanded
from tests.manual_clock import ManualClock
from tests.unit.balancer.members import member

PLUGIN = "weather.stats"
FIRST, SECOND = ("a", 4), ("b", 7)


class World:
    """Two instances, of versions 1.0.0 and 2.0.0, and callers of these."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.callers = Callers(self.clock.monotonic)
        self.callers.keep([FIRST, SECOND])
        members = [member("a", 4, plugin_version="1.0.0"), member("b", 7, plugin_version="2.0.0")]
        self.fleet = Fleet(epoch=1).listed(members, now=0.0)
        self.demands = Demands(lambda: self.fleet, self.callers, self.clock.monotonic)
        self.callers.on_load = self.demands.moved
        self.demands.begin()
        self.sequence = 0

    def settled(self) -> World:
        self.clock.advance(SETTLING)
        return self

    def caller(self, name: str = "o-1") -> Caller:
        return self.callers.arrived(name, "boot", [])

    def says(self, caller: Caller, waiting: Mapping[str, int], in_flight: Mapping[tuple[str, int], int]) -> None:
        """A caller has calls that wait, by range of versions, and calls under way."""
        self.sequence += 1
        told = [
            Told(CountKey(PLUGIN, *instance_key, 0), CallCounts(), count) for instance_key, count in in_flight.items()
        ]
        demands = {Demanded(PLUGIN, version_range): count for version_range, count in waiting.items()}
        self.callers.reported(caller, self.sequence, told, demands)


def test_calls_that_run_and_wait_are_counted_of_all_callers() -> None:
    world = World().settled()
    world.says(world.caller("o-1"), {"": 3}, {FIRST: 2})
    world.says(world.caller("o-2"), {"^1": 5}, {FIRST: 1, SECOND: 4})

    assert world.demands.count(PLUGIN, "") == 15
    assert world.demands.count("another", "") == 0


def test_a_version_has_what_runs_on_its_instances_and_what_waits_for_a_range_that_holds_it() -> None:
    world = World().settled()
    world.says(world.caller(), {"": 1, "^1": 10, "^2": 100, "=1.0.0 || =2.0.0": 1000, "nonsense": 5}, {FIRST: 2})

    assert world.demands.count(PLUGIN, "1.0.0") == 1 + 10 + 1000 + 2
    assert world.demands.count(PLUGIN, "2.0.0") == 1 + 100 + 1000
    assert world.demands.count(PLUGIN, "3.0.0") == 1


def test_what_a_caller_has_told_is_forgotten_with_it() -> None:
    world = World().settled()
    caller = world.caller()
    world.says(caller, {"": 3}, {FIRST: 2})
    world.callers.left(caller)
    at_once = world.demands.count(PLUGIN, "")
    world.clock.advance(PATIENCE)
    world.callers.sweep()

    assert (at_once, world.demands.count(PLUGIN, "")) == (2, 0)


def test_of_a_caller_that_says_nothing_what_it_told_last_stays() -> None:
    world = World().settled()
    world.says(world.caller(), {"": 3}, {FIRST: 2})
    world.clock.advance(10 * RECENT)
    world.callers.sweep()

    assert world.demands.count(PLUGIN, "") == 5


def test_nothing_is_said_to_be_idle_before_those_who_know_can_have_come() -> None:
    world = World()
    world.clock.advance(SETTLING - 0.1)
    with pytest.raises(BalancerWarming):
        world.demands.count(PLUGIN, "")
    with pytest.raises(BalancerWarming):
        world.demands.active(PLUGIN, "")

    world.says(world.caller(), {"": 1}, {})

    assert world.demands.active(PLUGIN, "")
    with pytest.raises(BalancerWarming):
        world.demands.count(PLUGIN, "")


def test_a_plugin_that_was_called_lately_is_not_idle() -> None:
    world = World().settled()
    caller = world.caller()
    world.says(caller, {}, {FIRST: 1})
    world.says(caller, {}, {FIRST: 0})
    world.clock.advance(RECENT - 0.1)
    lately = world.demands.active(PLUGIN, ""), world.demands.active(PLUGIN, "1.0.0")
    of_the_other = world.demands.active(PLUGIN, "2.0.0")
    world.clock.advance(0.1)

    assert (lately, of_the_other) == ((True, True), False)
    assert not world.demands.active(PLUGIN, "")


def test_calls_that_came_in_vain_are_one_call_that_waits_for_a_while() -> None:
    world = World().settled()
    for _ in range(3):
        world.demands.missed(Demanded(PLUGIN, "^2"))
    counts = [world.demands.count(PLUGIN, version) for version in ("", "1.0.0", "2.0.0")]
    world.clock.advance(IN_VAIN)

    assert counts == [1, 0, 1]
    assert world.demands.count(PLUGIN, "") == 0


def test_a_crowd_of_calls_in_vain_takes_no_more_memory_than_some() -> None:
    world = World().settled()
    for number in range(MOST_IN_VAIN + 1):
        world.demands.missed(Demanded(f"p-{number}", ""))

    assert [world.demands.count(f"p-{number}", "") for number in (0, 1, MOST_IN_VAIN)] == [0, 1, 1]
