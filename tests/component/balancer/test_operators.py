from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from forgemesh.api.balancer.v1 import balancer_service_pb2 as pb, event_pb2, policy_pb2, report_pb2, snapshot_pb2
from forgemesh.chassis.status import from_rpc_error
from forgemesh.faults import Fault
from forgemesh.faults.routing import BalancerWarming, EventsCompacted, InstanceNotFound, PolicyChanged
from forgemesh.faults.service import InvalidRequest, ShuttingDown
from tests.component.balancer.meshes import (
    DEADLINE,
    PLUGIN,
    ServedBalancer,
    balancer_of,
    healthy_instance,
    register,
    registry_at,
    registry_stub,
    subscribed,
)

ALICE = event_pb2.Author(actor="alice", reason="looks odd")
OPEN = snapshot_pb2.CIRCUIT_STATE_OPEN
CLOSED = snapshot_pb2.CIRCUIT_STATE_CLOSED
FORCED_OPEN = snapshot_pb2.CIRCUIT_STATE_FORCED_OPEN
METRICS_ONLY = snapshot_pb2.CIRCUIT_STATE_METRICS_ONLY


@contextlib.asynccontextmanager
async def registered(tmp_path: Path, *instance_ids: str) -> AsyncIterator[str]:
    """The address of a registry with healthy instances."""
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        healthy_instance() as (_, address),
    ):
        for instance_id in instance_ids:
            await register(stub, instance_id, address)
        yield registry.address


@contextlib.asynccontextmanager
async def mesh(tmp_path: Path, *instance_ids: str, **settings: Any) -> AsyncIterator[ServedBalancer]:
    async with registered(tmp_path, *instance_ids) as registry, balancer_of(registry, **settings) as balancer:
        await balancer.warm()
        yield balancer


async def listed(balancer: ServedBalancer, **request: Any) -> pb.ListCircuitsResponse:
    return await balancer.stub.ListCircuits(pb.ListCircuitsRequest(**request))


async def ordered(
    balancer: ServedBalancer, order: pb.CircuitOrder.ValueType, instance_id: str = "", plugin_id: str = PLUGIN
) -> Sequence[pb.InstanceCircuit]:
    request = pb.SetCircuitRequest(plugin_id=plugin_id, instance_id=instance_id, order=order, author=ALICE)
    return (await balancer.stub.SetCircuit(request)).circuits


async def set_policy(balancer: ServedBalancer, version: int | None = None, **policy: Any) -> pb.PolicyRecord:
    wanted = policy_pb2.PluginPolicy(**({"plugin_id": PLUGIN} | policy))
    request = pb.SetPolicyRequest(policy=wanted, expected_version=version, author=ALICE)
    return (await balancer.stub.SetPolicy(request)).record


async def history(balancer: ServedBalancer, **request: Any) -> list[event_pb2.BalancerEvent]:
    call = balancer.stub.WatchEvents(pb.WatchEventsRequest(history_only=True, **request))
    async with asyncio.timeout(DEADLINE):
        return [told.event async for told in call if told.HasField("event")]


async def circuit_events(balancer: ServedBalancer) -> list[event_pb2.BalancerEvent]:
    return [event for event in await history(balancer) if event.HasField("circuit")]


def states(circuits: Sequence[pb.InstanceCircuit]) -> dict[str, int]:
    return {one.instance_id: one.circuit.state for one in circuits}


async def fail(balancer: ServedBalancer, instance_id: str, times: int) -> None:
    """Callers report so many failures in a row."""
    (incarnation,) = [
        standing.member.incarnation
        for standing in balancer.balancer.fleet.standings.values()
        if standing.member.instance_id == instance_id
    ]
    failure = report_pb2.CallFailure(code=14, reason="HOST_LOST", message="gone", traceparent="00-11-22-01")
    counts = report_pb2.CallCounts(
        plugin_id=PLUGIN,
        instance_id=instance_id,
        incarnation=incarnation,
        started=times + 2,
        failed=times,
        failures_in_a_row=times,
        in_flight=2,
        last_failure=failure,
    )
    async with subscribed(balancer, subscriber_id=f"caller of {instance_id}") as feed:
        await feed.taken(feed.report(counts))


async def refusal(call: Any) -> Fault:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return from_rpc_error(refused.value)


async def test_circuits_are_listed_by_plugin_and_instance_in_pages(tmp_path: Path) -> None:
    async with mesh(tmp_path, "b", "a", "c") as balancer:
        first = await listed(balancer, page_size=2)
        second = await listed(balancer, page_size=2, page_token=first.next_page_token)
        one = await listed(balancer, instance_id="b")
        nothing = await listed(balancer, plugin_id="unheard.of")
        negative = await refusal(listed(balancer, page_size=-1))
        foreign = await refusal(listed(balancer, page_token="bm8="))

    assert states(first.circuits) == {"a": CLOSED, "b": CLOSED}
    assert states(second.circuits) == {"c": CLOSED}
    assert not second.next_page_token
    assert states(one.circuits) == {"b": CLOSED}
    assert not nothing.circuits
    assert isinstance(negative, InvalidRequest)
    assert isinstance(foreign, InvalidRequest)


async def test_a_circuit_shows_what_it_saw_and_why_it_stands_where_it_stands(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a", "b") as balancer:
        await fail(balancer, "a", 4)
        (before,) = (await listed(balancer, instance_id="a")).circuits
        await fail(balancer, "b", 5)
        (open_one,) = (await listed(balancer, tripped_only=True)).circuits

    assert (before.calls, before.failed, before.failures_in_a_row, before.in_flight) == (4, 4, 4, 2)
    assert before.last_failure.reason == "HOST_LOST"
    assert (open_one.instance_id, open_one.circuit.state, open_one.circuit.generation) == ("b", OPEN, 1)
    assert "5 failures in a row" in open_one.circuit.cause
    assert open_one.circuit.cause_traceparent == "00-11-22-01"
    assert 0 < open_one.circuit.open_for_millis <= 33_000


async def test_an_order_counts_at_once_and_is_told_with_who_gave_it_and_why(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a", "b") as balancer, subscribed(balancer) as feed:
        answer = await ordered(balancer, pb.CIRCUIT_ORDER_FORCE_OPEN, "a")
        circuit = await feed.until_circuit(FORCED_OPEN, "a")
        (event,) = await circuit_events(balancer)

    assert states(answer) == {"a": FORCED_OPEN}
    assert circuit.cause == "forced open by alice: looks odd"
    assert (event.plugin_id, event.instance_id, event.author) == (PLUGIN, "a", ALICE)
    assert (event.circuit.before, event.circuit.after.state) == (CLOSED, FORCED_OPEN)


async def test_an_order_that_is_repeated_changes_nothing_more(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a") as balancer:
        first = await ordered(balancer, pb.CIRCUIT_ORDER_FORCE_CLOSED, "a")
        again = await ordered(balancer, pb.CIRCUIT_ORDER_FORCE_CLOSED, "a")
        events = await circuit_events(balancer)

    assert first[0].circuit.generation == again[0].circuit.generation
    assert len(events) == 1


async def test_an_order_for_a_plugin_counts_for_every_instance_and_is_taken_back_for_every_one(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a", "b") as balancer:
        observed = await ordered(balancer, pb.CIRCUIT_ORDER_METRICS_ONLY)
        await fail(balancer, "a", 5)
        (shown,) = (await listed(balancer, instance_id="a")).circuits
        back = await ordered(balancer, pb.CIRCUIT_ORDER_RESET)

    assert states(observed) == {"a": METRICS_ONLY, "b": METRICS_ONLY}
    assert shown.circuit.state == METRICS_ONLY
    assert states(back) == {"a": CLOSED, "b": CLOSED}


async def test_a_reset_closes_an_open_circuit_and_forgets_what_is_on_record(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a") as balancer:
        await fail(balancer, "a", 5)
        (back,) = await ordered(balancer, pb.CIRCUIT_ORDER_RESET, "a")

    assert (back.circuit.state, back.failed, back.failures_in_a_row) == (CLOSED, 0, 0)


async def test_what_is_ordered_survives_a_restart_and_a_later_reset_too(tmp_path: Path) -> None:
    database = {"database": str(tmp_path / "balancer.db")}
    async with registered(tmp_path, "a", "b") as registry:
        async with balancer_of(registry, **database) as balancer:
            await balancer.warm()
            await ordered(balancer, pb.CIRCUIT_ORDER_FORCE_OPEN)
            await ordered(balancer, pb.CIRCUIT_ORDER_RESET, "b")
        async with balancer_of(registry, **database) as balancer:
            await balancer.warm()
            after = states((await listed(balancer)).circuits)

    assert after == {"a": FORCED_OPEN, "b": CLOSED}


async def test_an_order_counts_for_the_next_process_of_the_same_host_and_not_for_another_host_of_that_name(
    tmp_path: Path,
) -> None:
    database = {"database": str(tmp_path / "balancer.db")}
    after = []
    async with (
        registered(tmp_path) as registry,
        registry_stub(registry) as stub,
        healthy_instance() as (_, address),
    ):
        for tenure in ("first", "first", "second"):
            await register(stub, "a", address, labels={"tenure": tenure})
            async with balancer_of(registry, **database) as balancer:
                await balancer.warm()
                after.append(states((await listed(balancer)).circuits))
                if len(after) == 1:
                    await ordered(balancer, pb.CIRCUIT_ORDER_FORCE_OPEN, "a")

    assert after == [{"a": CLOSED}, {"a": FORCED_OPEN}, {"a": CLOSED}]


async def test_an_instance_of_a_registry_that_counts_anew_does_not_inherit_a_circuit(tmp_path: Path) -> None:
    database = {"database": str(tmp_path / "balancer.db")}
    (tmp_path / "new").mkdir()
    async with registered(tmp_path, "a") as registry, balancer_of(registry, **database) as balancer:
        await balancer.warm()
        await fail(balancer, "a", 5)
        (before,) = (await listed(balancer)).circuits
    async with registered(tmp_path / "new") as registry, balancer_of(registry, **database) as balancer:
        await balancer.warm()
    async with registered(tmp_path / "new", "a") as registry, balancer_of(registry, **database) as balancer:
        await balancer.warm()
        (after,) = (await listed(balancer)).circuits

    assert (before.incarnation, before.circuit.state) == (after.incarnation, OPEN)
    assert (after.circuit.state, after.circuit.generation) == (CLOSED, 0)


async def test_an_open_circuit_is_as_open_after_a_restart_and_its_generation_does_not_fall(tmp_path: Path) -> None:
    database = {"database": str(tmp_path / "balancer.db")}
    async with registered(tmp_path, "a") as registry:
        async with balancer_of(registry, **database) as balancer:
            await balancer.warm()
            await fail(balancer, "a", 5)
            (before,) = (await listed(balancer)).circuits
        async with balancer_of(registry, **database) as balancer, subscribed(balancer) as feed:
            first = await feed.until_circuit(OPEN)
            (after,) = (await listed(balancer)).circuits

    assert first.generation == after.circuit.generation == before.circuit.generation == 1
    assert 0 < after.circuit.open_for_millis <= before.circuit.open_for_millis
    assert after.circuit.cause == before.circuit.cause
    assert after.circuit.cause_traceparent == "00-11-22-01"


async def test_without_a_database_orders_and_policies_last_as_long_as_the_balancer(tmp_path: Path) -> None:
    async with registered(tmp_path, "a") as registry:
        async with balancer_of(registry) as balancer:
            await balancer.warm()
            await ordered(balancer, pb.CIRCUIT_ORDER_FORCE_OPEN)
            await set_policy(balancer, hash_bound=2)
        async with balancer_of(registry) as balancer:
            await balancer.warm()
            policies = (await balancer.stub.ListPolicies(pb.ListPoliciesRequest())).policies
            after = states((await listed(balancer)).circuits)

    assert after == {"a": CLOSED}
    assert not policies


async def test_an_order_about_nobody_is_refused(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a") as balancer:
        unknown = await refusal(ordered(balancer, pb.CIRCUIT_ORDER_FORCE_OPEN, "z"))
        other = await refusal(ordered(balancer, pb.CIRCUIT_ORDER_RESET, "a", plugin_id="weather.other"))

    assert isinstance(unknown, InstanceNotFound)
    assert "forgemesh circuit list" in unknown.message
    assert isinstance(other, InstanceNotFound)


async def test_an_order_that_says_too_little_is_refused_with_everything_that_is_missing(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a") as balancer:
        fault = await refusal(balancer.stub.SetCircuit(pb.SetCircuitRequest()))

    assert isinstance(fault, InvalidRequest)
    assert [one.field for one in fault.violations] == ["plugin_id", "order", "author.actor"]


async def test_a_policy_counts_at_once_for_circuits_and_in_snapshots(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a") as balancer, subscribed(balancer) as feed:
        circuit = policy_pb2.CircuitPolicy(consecutive_failures=2, open_seconds=40, max_open_seconds=40)
        record = await set_policy(balancer, 0, circuit=circuit, pick=policy_pb2.POLICY_LEAST_CONNECTIONS)
        await fail(balancer, "a", 2)
        await feed.until_circuit(OPEN)
        snapshot = feed.snapshots[PLUGIN]
        events = await history(balancer, plugin_id=PLUGIN)

    assert record.version == 1
    assert snapshot.policy.pick == policy_pb2.POLICY_LEAST_CONNECTIONS
    assert snapshot.policy.circuit.consecutive_failures == 2
    assert [event.policy.version for event in events if event.HasField("policy")] == [1]


async def test_policies_are_shown_with_their_defaults_and_listed_if_they_differ(tmp_path: Path) -> None:
    async with mesh(tmp_path) as balancer:
        untouched = (await balancer.stub.ListPolicies(pb.ListPoliciesRequest(plugin_id="weather.other"))).policies
        await set_policy(balancer, hash_bound=2)
        changed = (await balancer.stub.ListPolicies(pb.ListPoliciesRequest())).policies

    assert (untouched[0].version, untouched[0].policy.circuit.failure_rate) == (0, 0.5)
    assert [(one.policy.plugin_id, one.version, one.author) for one in changed] == [(PLUGIN, 1, ALICE)]


async def test_policies_survive_a_restart(tmp_path: Path) -> None:
    database = {"database": str(tmp_path / "balancer.db")}
    async with registered(tmp_path, "a") as registry:
        async with balancer_of(registry, **database) as balancer:
            await balancer.warm()
            before = await set_policy(balancer, 0, pick=policy_pb2.POLICY_RESOURCE_BASED)
        async with balancer_of(registry, **database) as balancer, subscribed(balancer) as feed:
            snapshot = await feed.until(lambda endpoints: "a" in endpoints)
            stale = await refusal(set_policy(balancer, 0, hash_bound=2))
            after = (await balancer.stub.ListPolicies(pb.ListPoliciesRequest())).policies

    assert snapshot.policy.pick == policy_pb2.POLICY_RESOURCE_BASED
    assert isinstance(stale, PolicyChanged)
    assert list(after) == [before]


async def test_events_are_watched_from_the_oldest_on_with_a_heartbeat_when_everything_is_told(tmp_path: Path) -> None:
    async with mesh(tmp_path) as balancer:
        await set_policy(balancer, hash_bound=2)
        call = balancer.stub.WatchEvents(pb.WatchEventsRequest())
        messages = aiter(call)
        async with asyncio.timeout(DEADLINE):
            first, told = await anext(messages), await anext(messages)
            await set_policy(balancer, hash_bound=3)
            live = await anext(messages)
            while not live.HasField("event"):
                live = await anext(messages)
        call.cancel()
        again = await history(balancer, resume_after=first.position)

    assert first.event.policy.version == 1
    assert not told.HasField("event")
    assert told.position == first.position
    assert [event.policy.version for event in (live.event, *again)] == [2, 2]
    assert live.position.number == first.position.number + 1


async def test_events_of_an_earlier_balancer_cannot_be_gone_on_from(tmp_path: Path) -> None:
    async with mesh(tmp_path) as balancer:
        position = event_pb2.EventPosition(epoch=1, number=1)
        fault = await refusal(history(balancer, resume_after=position))

    assert isinstance(fault, EventsCompacted)


async def test_a_watcher_is_told_that_the_balancer_stops(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as outlasting, registered(tmp_path) as registry:
        async with balancer_of(registry) as balancer:
            await balancer.warm()
            channel = await outlasting.enter_async_context(grpc.aio.insecure_channel(balancer.server.address))
            call = type(balancer.stub)(channel).WatchEvents(pb.WatchEventsRequest())
            await call.read()

        fault = await refusal(_drained(call))

    assert isinstance(fault, ShuttingDown)


async def test_before_the_balancer_is_warm_nothing_is_shown_and_nothing_is_ordered(tmp_path: Path) -> None:
    async with registered(tmp_path) as registry:
        pass
    async with balancer_of(registry) as balancer:
        faults = [
            await refusal(listed(balancer)),
            await refusal(ordered(balancer, pb.CIRCUIT_ORDER_FORCE_OPEN)),
            await refusal(history(balancer)),
        ]

    assert [type(fault) for fault in faults] == [BalancerWarming] * 3


async def _drained(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass
