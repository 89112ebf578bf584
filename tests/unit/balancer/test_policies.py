from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from forgemesh.balancer.adapters.decision_store import NoDecisions
from forgemesh.balancer.application.events.events import Events, Watched
from forgemesh.balancer.application.policies.policies import Policies
from forgemesh.balancer.domain.events import Author, Event, PolicyChange
from forgemesh.balancer.domain.policies import PolicyRecord
from forgemesh.faults.routing import PolicyChanged
from forgemesh.faults.service import StoreUnavailable
from forgemesh.routing.policy import DEFAULT, PluginPolicy, Policy
from tests.manual_clock import ManualClock

ALICE, BOB = Author("alice"), Author("bob", "why not")
LEAST = PluginPolicy(pick=Policy.LEAST_CONNECTIONS)
HASH = PluginPolicy(pick=Policy.CONSISTENT_HASH)


class FullDisk(NoDecisions):
    async def save_policy(self, record: PolicyRecord) -> None:
        raise StoreUnavailable("balancer.db", "disk full")


class KeptPolicies:
    def __init__(self, store: NoDecisions, stored: Iterable[PolicyRecord] = ()) -> None:
        clock = ManualClock()
        self.events = Events(clock.wall, clock.monotonic, heartbeat=1.0)
        self.events.begin(1)
        self.policies = Policies(store, self.events, stored)
        self.counting: list[tuple[str, PluginPolicy]] = []
        self.policies.on_change = lambda plugin_id, policy: self.counting.append((plugin_id, policy))

    async def told(self) -> list[Event]:
        watch = self.events.watch(None, Watched(history_only=True))
        return [told.entry.event async for told in watch if told.entry is not None]


async def test_a_plugin_that_nobody_spoke_of_has_the_default_at_version_0() -> None:
    policies = KeptPolicies(NoDecisions()).policies

    assert policies.record("weather.stats") == PolicyRecord("weather.stats", DEFAULT)
    assert policies.changed() == []


async def test_what_was_set_before_counts() -> None:
    stored = PolicyRecord("weather.stats", LEAST, 4, ALICE)

    assert KeptPolicies(NoDecisions(), [stored]).policies.of("weather.stats") == LEAST


async def test_a_change_counts_at_once_and_is_told_with_its_author() -> None:
    kept = KeptPolicies(NoDecisions())
    await kept.policies.set("b", HASH, None, ALICE)
    first = await kept.policies.set("a", LEAST, 0, ALICE)
    second = await kept.policies.set("a", HASH, 1, BOB)

    assert (first.version, second) == (1, PolicyRecord("a", HASH, 2, BOB))
    assert kept.counting == [("b", HASH), ("a", LEAST), ("a", HASH)]
    assert [record.plugin_id for record in kept.policies.changed()] == ["a", "b"]
    assert (await kept.told())[-1] == Event(plugin_id="a", author=BOB, change=PolicyChange(2))


async def test_a_change_that_starts_from_another_version_is_refused() -> None:
    kept = KeptPolicies(NoDecisions())
    await kept.policies.set("a", LEAST, None, ALICE)

    with pytest.raises(PolicyChanged, match="at version 1 and not at 0"):
        await kept.policies.set("a", HASH, 0, BOB)

    assert kept.policies.of("a") == LEAST


async def test_of_many_changes_that_start_from_one_version_exactly_one_counts() -> None:
    kept = KeptPolicies(NoDecisions())
    changes = [kept.policies.set("a", PluginPolicy(load_memory=1.0 + n), 0, ALICE) for n in range(20)]
    results = await asyncio.gather(*changes, return_exceptions=True)

    assert len([one for one in results if isinstance(one, PolicyRecord)]) == 1
    assert len([one for one in results if isinstance(one, PolicyChanged)]) == 19
    assert len(kept.counting) == 1


async def test_a_change_that_is_repeated_changes_nothing_more() -> None:
    kept = KeptPolicies(NoDecisions())
    first = await kept.policies.set("a", LEAST, 0, ALICE)
    again = await kept.policies.set("a", LEAST, 0, ALICE)

    assert again == first
    assert len(kept.counting) == len(await kept.told()) == 1


async def test_back_to_the_default_is_a_change_like_any_other() -> None:
    kept = KeptPolicies(NoDecisions())
    await kept.policies.set("a", LEAST, None, ALICE)
    record = await kept.policies.set("a", DEFAULT, 1, BOB)

    assert record.version == 2
    assert kept.policies.changed() == []


async def test_a_change_that_cannot_be_kept_does_not_count() -> None:
    kept = KeptPolicies(FullDisk())

    with pytest.raises(StoreUnavailable):
        await kept.policies.set("a", LEAST, None, ALICE)

    assert kept.policies.of("a") == DEFAULT
    assert kept.counting == []
