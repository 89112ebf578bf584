from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from forgemesh.balancer.adapters.decision_store import MIGRATIONS, NoDecisions, SqliteDecisions
from forgemesh.balancer.domain.decisions import Decisions, Forced, LastCircuit
from forgemesh.balancer.domain.events import Author
from forgemesh.balancer.domain.policies import PolicyRecord
from forgemesh.chassis.sqlite.database import open_database
from forgemesh.routing.circuit_rule import CircuitRule
from forgemesh.routing.endpoint import CircuitState, CircuitView
from forgemesh.routing.outlier import OutlierRule
from forgemesh.routing.policy import DEFAULT, OperationPolicy, PluginPolicy, Policy
from forgemesh.routing.slow_start import SlowStart

ALICE = Author("alice", "noise")
POLICY = PluginPolicy(
    pick=Policy.RESOURCE_BASED,
    operations={"render": OperationPolicy(pick=Policy.CONSISTENT_HASH, hedge_after=0.0)},
    circuit=CircuitRule(open=10.0, permits=2, consecutive_failures=0),
    outliers=OutlierRule(max_ejected=0.3),
    slow_start=SlowStart(window=20.0),
    hash_bound=1.5,
)


@contextlib.asynccontextmanager
async def store_at(path: Path) -> AsyncIterator[SqliteDecisions]:
    async with open_database(path, MIGRATIONS) as database:
        yield SqliteDecisions(database)


def forced(instance_id: str, state: CircuitState = CircuitState.FORCED_OPEN) -> Forced:
    return Forced("weather.stats", instance_id, state, ALICE, f"tenure of {instance_id}")


def circuit(instance_id: str, generation: int, incarnation: int = 7) -> LastCircuit:
    view = CircuitView(CircuitState.OPEN, generation, 1_764_000_030.25, "5 failures in a row", "00-ab-cd-01")
    return LastCircuit("weather.stats", instance_id, incarnation, view)


async def test_a_new_store_knows_nothing(tmp_path: Path) -> None:
    async with store_at(tmp_path / "balancer.db") as store:
        assert await store.load() == Decisions()


async def test_policies_outlive_the_process_whole_and_the_newest_counts(tmp_path: Path) -> None:
    async with store_at(tmp_path / "balancer.db") as store:
        await store.save_policy(PolicyRecord("weather.stats", DEFAULT, 1, Author("bob")))
        await store.save_policy(PolicyRecord("weather.stats", POLICY, 2, ALICE))
    async with store_at(tmp_path / "balancer.db") as store:
        assert await store.load() == Decisions(policies=(PolicyRecord("weather.stats", POLICY, 2, ALICE),))


async def test_forced_circuits_outlive_the_process_until_they_are_forgotten(tmp_path: Path) -> None:
    async with store_at(tmp_path / "balancer.db") as store:
        await store.save_forced([forced("a"), forced("b"), forced("c", CircuitState.METRICS_ONLY)])
        await store.save_forced([forced("a", CircuitState.FORCED_CLOSED)])
        await store.forget_forced(["b", "unheard of"])
    async with store_at(tmp_path / "balancer.db") as store:
        found = (await store.load()).forced

    assert sorted(found, key=lambda one: one.instance_id) == [
        forced("a", CircuitState.FORCED_CLOSED),
        forced("c", CircuitState.METRICS_ONLY),
    ]


async def test_where_circuits_stood_outlives_the_process(tmp_path: Path) -> None:
    async with store_at(tmp_path / "balancer.db") as store:
        for one in (circuit("a", 1), circuit("b", 1), circuit("a", 2), circuit("b", 1, incarnation=8)):
            store.note(one)
    async with store_at(tmp_path / "balancer.db") as store:
        assert (await store.load()).circuits == (circuit("a", 2), circuit("b", 1, incarnation=8))


async def test_of_a_registration_that_is_over_nothing_is_kept(tmp_path: Path) -> None:
    async with store_at(tmp_path / "balancer.db") as store:
        for one in (circuit("a", 1), circuit("b", 1), circuit("c", 1, incarnation=8)):
            store.note(one)
        store.forget_circuits({("a", 7), ("c", 7)})
    async with store_at(tmp_path / "balancer.db") as store:
        assert (await store.load()).circuits == (circuit("b", 1), circuit("c", 1, incarnation=8))


async def test_of_very_many_circuits_those_are_kept_that_moved_last(tmp_path: Path) -> None:
    async with store_at(tmp_path / "balancer.db") as store:
        for number in range(20_010):
            store.note(circuit(f"i-{number}", 1))
    async with store_at(tmp_path / "balancer.db") as store:
        kept = [one.instance_id for one in (await store.load()).circuits]

    assert kept == [f"i-{number}" for number in range(10, 20_010)]


async def test_without_a_store_nothing_is_kept() -> None:
    store = NoDecisions()
    await store.save_policy(PolicyRecord("weather.stats", POLICY, 1, ALICE))
    store.note(circuit("a", 1))

    assert await store.load() == Decisions()
