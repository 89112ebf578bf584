from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import grpc
import pytest

from forgemesh.api.balancer.v1 import balancer_service_pb2 as pb, report_pb2, snapshot_pb2
from forgemesh.api.balancer.v1.balancer_service_pb2_grpc import BalancerServiceStub
from forgemesh.chassis.channel import LARGEST, connect
from forgemesh.chassis.status import from_rpc_error
from forgemesh.faults import Fault
from forgemesh.faults.routing import BalancerWarming
from forgemesh.faults.service import InvalidRequest, ShuttingDown
from forgemesh.feed.snapshots import LONGEST_REASON
from forgemesh.routing.endpoint import Admission
from tests.component.balancer.meshes import (
    DEADLINE,
    PLUGIN,
    ServedBalancer,
    Subscriber,
    balancer_of,
    deregister,
    healthy_instance,
    register,
    registry_at,
    registry_stub,
    subscribed,
)
from tests.component.balancer.test_health_over_grpc import silent_process
from tests.unit.balancer.members import member

SERVING = snapshot_pb2.HEALTH_SERVING
UNCHECKED = snapshot_pb2.HEALTH_UNSPECIFIED


async def fault_of(subscriber: Subscriber) -> Fault:
    """What ends the subscription, whatever is heard before."""
    try:
        while True:
            await subscriber.hear()
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error)


async def list_snapshots(balancer: ServedBalancer, **request: object) -> pb.ListSnapshotsResponse:
    return await balancer.stub.ListSnapshots(pb.ListSnapshotsRequest(**request))  # type: ignore[arg-type]


async def test_a_subscriber_gets_everything_then_a_heartbeat_then_changes(tmp_path: Path) -> None:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        healthy_instance() as (instance, address),
    ):
        await register(stub, "a", address)
        async with balancer_of(registry.address) as balancer, subscribed(balancer) as feed:
            kinds = [(await feed.hear()).WhichOneof("kind") for _ in range(3)]
            first = feed.snapshots[PLUGIN]
            await instance.not_ready()
            second = await feed.until_health(a=snapshot_pb2.HEALTH_NOT_SERVING)

    assert kinds == ["snapshot", "heartbeat", "heartbeat"]
    assert first.endpoints[0].health == SERVING
    assert second.revision.epoch == first.revision.epoch
    assert second.revision.revision > first.revision.revision


async def test_nothing_is_published_before_the_registry_has_been_heard(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with registry_at(tmp_path / "registry.db") as registry:
            where = registry.address
        balancer = await stack.enter_async_context(balancer_of(where))
        assert isinstance(await fault_of(Subscriber(balancer.stub)), BalancerWarming)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await list_snapshots(balancer)
        assert isinstance(from_rpc_error(refused.value), BalancerWarming)

        await stack.enter_async_context(registry_at(tmp_path / "registry.db", where))
        await balancer.warm()
        feed = await stack.enter_async_context(subscribed(balancer))

        assert (await feed.hear()).HasField("heartbeat")


async def test_an_instance_that_does_not_answer_holds_the_feed_up_for_a_limited_time(tmp_path: Path) -> None:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        silent_process() as nowhere,
        healthy_instance() as (_, address),
    ):
        await register(stub, "a", nowhere)
        await register(stub, "b", address)
        async with (
            balancer_of(registry.address, misses=1_000_000, first_checks=0.3) as balancer,
            subscribed(balancer) as feed,
        ):
            await feed.until_health(a=UNCHECKED, b=SERVING)


async def test_a_plugin_without_instances_keeps_an_empty_snapshot_of_a_higher_revision(tmp_path: Path) -> None:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        healthy_instance() as (_, address),
    ):
        registered = await register(stub, "a", address)
        async with balancer_of(registry.address) as balancer, subscribed(balancer) as feed:
            before = await feed.until_health(a=SERVING)
            await deregister(stub, registered)
            after = await feed.until_health()
            late = Subscriber(balancer.stub)
            first = await late.hear()
            late.call.cancel()

    assert after.revision.revision > before.revision.revision
    assert first.snapshot == after


async def test_changes_that_come_together_go_out_together(tmp_path: Path) -> None:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        balancer_of(registry.address, coalesce=0.5) as balancer,
        subscribed(balancer) as feed,
    ):
        await asyncio.gather(*(register(stub, f"i-{number}", "127.0.0.1:1") for number in range(10)))
        seen: set[int] = set()
        while len(feed.snapshots.get(PLUGIN, snapshot_pb2.PluginSnapshot()).endpoints) < 10:
            await feed.hear()
            seen.update(snapshot.revision.revision for snapshot in feed.snapshots.values())

    assert len(seen) <= 2


async def test_acknowledgements_are_recorded_and_those_of_unknown_plugins_are_not(tmp_path: Path) -> None:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        balancer_of(registry.address) as balancer,
        subscribed(balancer) as feed,
    ):
        await register(stub, "a", "127.0.0.1:1")
        snapshot = await feed.until(lambda endpoints: "a" in endpoints)
        (subscription,) = balancer.balancer.feed.subscriptions
        for plugin_id in ("unheard.of", PLUGIN):
            ack = pb.SnapshotAck(plugin_id=plugin_id, revision=snapshot.revision)
            feed.say(pb.SubscribeRequest(ack=ack))
        async with asyncio.timeout(DEADLINE):
            while subscription.taken[PLUGIN].revision < snapshot.revision.revision:
                await feed.hear()

    assert list(subscription.taken) == [PLUGIN]


async def test_a_subscription_ends_with_its_call(tmp_path: Path) -> None:
    async with registry_at(tmp_path / "registry.db") as registry, balancer_of(registry.address) as balancer:
        async with subscribed(balancer) as feed:
            await feed.hear()
            assert len(balancer.balancer.feed.subscriptions) == 1
        async with asyncio.timeout(DEADLINE), subscribed(balancer) as other:
            while len(balancer.balancer.feed.subscriptions) > 1:
                await other.hear()


async def test_subscribers_are_told_that_the_balancer_stops(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as outlasting, registry_at(tmp_path / "registry.db") as registry:
        async with balancer_of(registry.address) as balancer:
            await balancer.warm()
            channel = await outlasting.enter_async_context(grpc.aio.insecure_channel(balancer.server.address))
            feed = Subscriber(type(balancer.stub)(channel))
            await feed.hear()

        assert isinstance(await fault_of(feed), ShuttingDown)


async def test_a_subscription_opens_with_a_hello(tmp_path: Path) -> None:
    async with registry_at(tmp_path / "registry.db") as registry, balancer_of(registry.address) as balancer:
        await balancer.warm()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await balancer.stub.Subscribe(iter([pb.SubscribeRequest()])).read()

    assert isinstance(from_rpc_error(refused.value), InvalidRequest)


async def test_each_start_of_the_balancer_has_a_higher_epoch(tmp_path: Path) -> None:
    epochs = []
    async with registry_at(tmp_path / "registry.db") as registry:
        for _ in range(2):
            async with balancer_of(registry.address) as balancer, subscribed(balancer) as feed:
                epochs.append((await feed.hear()).heartbeat.epoch)

    assert 0 < epochs[0] < epochs[1]


async def test_snapshots_are_listed_in_pages(tmp_path: Path) -> None:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        balancer_of(registry.address) as balancer,
        subscribed(balancer) as feed,
    ):
        await register(stub, "a", "127.0.0.1:1")
        await feed.until(lambda endpoints: "a" in endpoints)
        everything = await list_snapshots(balancer, page_size=1)
        nothing = await list_snapshots(balancer, plugin_id="unheard.of")

    assert [snapshot.plugin_id for snapshot in everything.snapshots] == [PLUGIN]
    assert everything.next_page_token == ""
    assert not nothing.snapshots


async def test_listed_snapshots_tell_of_the_calls_that_are_under_way_now(tmp_path: Path) -> None:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        balancer_of(registry.address) as balancer,
        subscribed(balancer) as feed,
    ):
        registered = await register(stub, "a", "127.0.0.1:1")
        await feed.until(lambda endpoints: "a" in endpoints)
        incarnation = registered.instance.incarnation
        await feed.taken(
            feed.report(
                report_pb2.CallCounts(
                    plugin_id=PLUGIN, instance_id="a", incarnation=incarnation, started=7, in_flight=7
                )
            )
        )
        listed = await list_snapshots(balancer)

    assert listed.snapshots[0].endpoints[0].in_flight == 7


async def test_ten_thousand_instances_that_have_much_to_say_fit_into_a_snapshot(tmp_path: Path) -> None:
    given_up = [
        member(f"i-{number:05}", admission=Admission.CRASH_LOOP, admission_reason="it ended " * 1_000)
        for number in range(10_000)
    ]
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        balancer_of(registry.address) as balancer,
        connect(balancer.server.address, receive_limit=LARGEST) as channel,
    ):
        await balancer.warm()
        feed = Subscriber(BalancerServiceStub(channel))
        balancer.balancer.listed(given_up)
        snapshot = await feed.until(lambda endpoints: len(endpoints) == len(given_up))
        feed.call.cancel()

    assert {len(endpoint.admission_reason) for endpoint in snapshot.endpoints} == {LONGEST_REASON}
