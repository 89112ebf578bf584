"""What a caller in Python does with the balancer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from forgemesh.api.balancer.v1.event_pb2 import BalancerEvent
from forgemesh.api.balancer.v1.policy_pb2 import POLICY_CONSISTENT_HASH, PluginPolicy
from forgemesh.api.balancer.v1.snapshot_pb2 import CIRCUIT_STATE_FORCED_OPEN
from forgemesh.client import Balancer, Client
from forgemesh.faults import Code
from forgemesh.faults.routing import NotRegistered, PolicyChanged
from forgemesh.faults.service import ServiceUnreachable
from tests.component.balancer.meshes import (
    DEADLINE,
    PLUGIN,
    ServedBalancer,
    balancer_of,
    healthy_instance,
    register,
    registry_at,
    registry_stub,
)
from tests.component.client.script import Script, served


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[str]:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        healthy_instance() as (_, address),
    ):
        await register(stub, "a", address)
        yield registry.address


@pytest.fixture
async def under_test(registry: str) -> AsyncIterator[ServedBalancer]:
    async with balancer_of(registry) as under_test:
        await under_test.warm()
        yield under_test


@pytest.fixture
async def balancer(under_test: ServedBalancer) -> AsyncIterator[Balancer]:
    async with (
        served(Script(services={"balancer": under_test.server.address})) as address,
        Client.connect(address) as mesh,
        mesh.balancer() as balancer,
    ):
        yield balancer


class Broken(grpc.aio.AioRpcError):
    """A call that found nobody."""

    def __init__(self) -> None:
        empty = grpc.aio.Metadata()
        super().__init__(grpc.StatusCode.UNAVAILABLE, empty, empty, details="no route")


def seen(under_test: ServedBalancer) -> Any:
    (guarded,) = under_test.balancer.circuits
    return guarded.circuit


def gist(event: BalancerEvent) -> str:
    """Who did it, or what it is."""
    return event.author.actor or event.WhichOneof("kind") or ""


def in_flight(under_test: ServedBalancer) -> int:
    (guarded,) = under_test.balancer.circuits
    return under_test.balancer.callers.in_flight(guarded.instance_key)


async def test_a_call_that_is_made_with_a_pick_is_settled_by_how_it_ends(
    balancer: Balancer, under_test: ServedBalancer
) -> None:
    async with balancer.picked(PLUGIN, version_range="^1", operation="mean") as pick:
        under_way, where = in_flight(under_test), pick.endpoint.address
    calls = seen(under_test).window.calls
    with pytest.raises(Broken):
        async with balancer.picked(PLUGIN):
            raise Broken
    failed = seen(under_test)
    with pytest.raises(ZeroDivisionError):
        async with balancer.picked(PLUGIN):
            _ = 1 / 0

    assert (under_way, where, calls) == (1, "127.0.0.1:7001", 1)
    assert failed.last_failure.message == "no route"
    assert failed.failures_in_a_row == seen(under_test).failures_in_a_row == 1
    assert in_flight(under_test) == 0


async def test_a_call_that_is_cancelled_is_settled_too(balancer: Balancer, under_test: ServedBalancer) -> None:
    began = asyncio.Event()

    async def call() -> None:
        async with balancer.picked(PLUGIN):
            began.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(call())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert in_flight(under_test) == 0
    assert seen(under_test).window.calls == 0


async def test_a_pick_is_settled_by_hand(balancer: Balancer, under_test: ServedBalancer) -> None:
    pick = await balancer.pick(PLUGIN, explain=True)
    applied = [await balancer.settle(pick.pick_id, Code.UNAVAILABLE, latency=0.5) for _ in range(2)]

    assert applied == [True, False]
    assert [one.instance_id for one in pick.judgements] == ["a"]
    with pytest.raises(NotRegistered):
        await balancer.pick("unheard.of")


async def test_circuits_are_seen_and_forced(balancer: Balancer) -> None:
    (forced,) = await balancer.set_circuit("open", PLUGIN, "a", reason="disk full", by="alice")
    (listed,) = await balancer.circuits(tripped_only=True)

    assert forced.circuit.state == listed.circuit.state == CIRCUIT_STATE_FORCED_OPEN
    assert listed.circuit.cause == "forced open by alice: disk full"


async def test_a_policy_is_changed_from_the_version_that_was_seen(balancer: Balancer) -> None:
    present = await balancer.policy(PLUGIN)
    present.policy.pick = POLICY_CONSISTENT_HASH
    changed = await balancer.set_policy(present.policy, version=present.version, by="alice")

    assert (present.version, changed.version) == (0, 1)
    assert await balancer.policies() == [changed]
    with pytest.raises(PolicyChanged):
        await balancer.set_policy(PluginPolicy(plugin_id=PLUGIN), version=0)


async def test_a_watch_goes_on_where_it_stopped_and_with_the_next_balancer_begins_anew(registry: str) -> None:
    told: list[str] = []
    broken = asyncio.Event()

    async def watch(address: str) -> None:
        async with Balancer.connect(address) as balancer:
            async for event in balancer.watch(PLUGIN, on_break=broken.set):
                note(event)

    def note(event: BalancerEvent) -> None:
        told.append(gist(event))

    async def until(who: str) -> None:
        async with asyncio.timeout(DEADLINE):
            while who not in told:
                await asyncio.sleep(0.01)

    async with balancer_of(registry) as first:
        await first.warm()
        where, at = first.server.address, Balancer.connect(first.server.address)
        watching = asyncio.create_task(watch(where))
        async with at as balancer:
            await balancer.set_circuit("open", PLUGIN, by="alice")
        await until("alice")
    async with balancer_of(registry, listen=where) as second:
        await second.warm()
        async with Balancer.connect(where) as balancer:
            await balancer.set_circuit("open", PLUGIN, by="bob")
            await until("bob")
            history = [gist(event) for event in await balancer.history(PLUGIN)]
    watching.cancel()

    assert broken.is_set()
    assert told == ["health", "alice", *history]
    assert history == ["health", "bob"]


async def test_a_mesh_without_a_balancer_is_told() -> None:
    async with served(Script(services={})) as address, Client.connect(address) as mesh:
        with pytest.raises(ServiceUnreachable):
            async with mesh.balancer():
                pass
