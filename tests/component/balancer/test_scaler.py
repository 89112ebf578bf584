"""KEDA's four questions to a real balancer, of plugins that run, that only were published, and that nobody knows."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from forgemesh.api.balancer.v1 import balancer_service_pb2 as pb, report_pb2, snapshot_pb2
from forgemesh.api.keda.v1 import external_scaler_service_pb2 as keda_pb
from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.api.registry.v1 import registry_service_pb2 as registry_pb
from forgemesh.balancer.adapters import plugin_catalogue
from forgemesh.balancer.application.callers import demands
from forgemesh.chassis.channel import connect
from forgemesh.chassis.status import from_rpc_error
from forgemesh.faults.registry import PluginNotFound
from forgemesh.faults.routing import BalancerWarming, NotRegistered
from forgemesh.faults.service import InvalidRequest, ServiceUnreachable, ShuttingDown
from forgemesh.routing.scaling import ScaleRule, wish
from tests.component.balancer.meshes import (
    PLUGIN,
    ServedBalancer,
    Subscriber,
    balancer_of,
    healthy_instance,
    register,
    registry_at,
    registry_stub,
    subscribed,
)
from tests.component.balancer.picking import picked, refusal, settled
from tests.keda import Keda, keda, pushed

CAPACITY = 8


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else comes to this balancer, and what is idle is so at once."""
    monkeypatch.setattr(demands, "SETTLING", 0.0)
    monkeypatch.setattr(demands, "RECENT", 0.05)
    monkeypatch.setattr(plugin_catalogue, "FRESH", 0.0)


@contextlib.asynccontextmanager
async def mesh(tmp_path: Path, *versions: str, **others: Any) -> AsyncIterator[tuple[ServedBalancer, Any]]:
    """A balancer, and a registry in which these versions of the plugin are published and nothing runs."""
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
    ):
        for version in versions:
            made = manifest_pb2.Manifest(plugin_id=PLUGIN, version=version, max_concurrency=CAPACITY)
            made.operations.add(name="mean")
            await stub.PublishManifest(registry_pb.PublishManifestRequest(manifest=made))
        async with balancer_of(registry.address, **others) as balancer:
            await balancer.warm()
            yield balancer, stub


def waiting(feed: Subscriber, **ranges: int) -> int:
    """Say that so many calls wait, by the major version that they want, such as `v1`, or by `any`."""
    told = [
        report_pb2.PluginDemand(plugin_id=PLUGIN, version_range="" if one == "any" else f"^{one[1:]}", waiting=count)
        for one, count in ranges.items()
    ]
    feed.sequence += 1
    report = report_pb2.OutcomeReport(sequence=feed.sequence, demands=told)
    feed.say(pb.SubscribeRequest(report=report))
    return feed.sequence


def questions(asker: Keda) -> list[Any]:
    """All that KEDA asks, each not awaited yet."""
    stub, ref = asker.stub, asker.ref

    async def first_push() -> bool:
        async with asker.pushes() as pushes:
            return await pushed(pushes)

    metrics = keda_pb.GetMetricsRequest(scaledObjectRef=ref)
    return [stub.IsActive(ref), stub.GetMetricSpec(ref), stub.GetMetrics(metrics), first_push()]


@pytest.mark.parametrize("target", ["0.7", "0.3", "1"])
@pytest.mark.parametrize("calls", [0, 1, 5, 6, 28, 1000])
async def test_the_metric_by_the_target_is_what_the_rule_wishes(tmp_path: Path, calls: int, target: str) -> None:
    async with (
        mesh(tmp_path, "1.0.0") as (balancer, _),
        keda(balancer.server.address, plugin=PLUGIN, targetUtilization=target) as asker,
        subscribed(balancer) as feed,
    ):
        await feed.taken(waiting(feed, any=calls))
        pods = await asker.pods(least=0, most=50)

    assert pods == wish(ScaleRule(least=0, most=50, target=float(target)), calls, CAPACITY)


async def test_a_plugin_that_never_ran_is_active_with_its_first_call_and_idle_once_it_has_none(tmp_path: Path) -> None:
    async with (
        mesh(tmp_path, "1.0.0") as (balancer, _),
        keda(balancer.server.address, plugin=PLUGIN) as asker,
        subscribed(balancer) as feed,
        asker.pushes() as pushes,
    ):
        at_first = await pushed(pushes), await asker.is_active(), await asker.pods(least=0, most=3)
        waiting(feed, any=1)
        at_the_call = await pushed(pushes), await asker.is_active(), await asker.pods(least=0, most=3)
        waiting(feed)
        at_last = await pushed(pushes), await asker.is_active(), await asker.pods(least=0, most=3)

    assert at_first == (False, False, 0)
    assert at_the_call == (True, True, 1)
    assert at_last == (False, False, 0)


async def test_calls_that_run_count_as_those_that_wait_do(tmp_path: Path) -> None:
    async with (
        mesh(tmp_path, "1.0.0") as (balancer, registry),
        healthy_instance() as (_, address),
        keda(balancer.server.address, plugin=PLUGIN) as asker,
        subscribed(balancer) as feed,
    ):
        await register(registry, "a", address)
        (endpoint,) = (await feed.until(lambda endpoints: "a" in endpoints)).endpoints
        counts = report_pb2.CallCounts(
            plugin_id=PLUGIN, instance_id="a", incarnation=endpoint.incarnation, started=9, in_flight=9
        )
        await feed.taken(feed.report(counts, waiting=4))
        calls, active = await asker.calls(), await asker.is_active()

    assert (calls, active) == (13, True)


async def test_a_pick_is_a_call_that_runs_until_it_is_settled(tmp_path: Path) -> None:
    async with (
        mesh(tmp_path, "1.0.0") as (balancer, registry),
        healthy_instance() as (_, address),
        keda(balancer.server.address, plugin=PLUGIN) as asker,
        asker.pushes() as pushes,
        subscribed(balancer) as feed,
    ):
        idle = await pushed(pushes)
        await register(registry, "a", address)
        await feed.until_health(a=snapshot_pb2.HEALTH_SERVING)
        pick = await picked(balancer)
        under_way = await pushed(pushes), await asker.calls()
        await settled(balancer, pick)
        over = await pushed(pushes), await asker.calls()

    assert (idle, under_way, over) == (False, (True, 1), (False, 0))


async def test_two_versions_are_scaled_by_their_own_calls(tmp_path: Path) -> None:
    async with mesh(tmp_path, "1.0.0", "2.0.0") as (balancer, _), subscribed(balancer) as feed:
        await feed.taken(waiting(feed, v1=3, v2=20, any=1))
        async with (
            keda(balancer.server.address, plugin=PLUGIN, version="1.0.0") as first,
            keda(balancer.server.address, plugin=PLUGIN, version="2.0.0") as second,
        ):
            calls = await first.calls(), await second.calls()

    assert calls == (4, 21)


async def test_the_call_of_a_client_that_only_picks_brings_the_first_instance(tmp_path: Path) -> None:
    async with (
        mesh(tmp_path, "1.0.0") as (balancer, _),
        keda(balancer.server.address, plugin=PLUGIN) as asker,
        asker.pushes() as pushes,
    ):
        assert not await pushed(pushes)
        refused = await refusal(picked(balancer))
        brought = await pushed(pushes), await asker.calls()

    assert isinstance(refused, NotRegistered)
    assert brought == (True, 1)


async def test_what_was_never_published_is_not_found(tmp_path: Path) -> None:
    async with mesh(tmp_path, "1.0.0") as (balancer, _):
        for metadata in ({"plugin": "weather.nobody"}, {"plugin": PLUGIN, "version": "9.0.0"}):
            async with keda(balancer.server.address, **metadata) as asker:
                for ask in questions(asker):
                    fault = await refusal(ask)
                    assert isinstance(fault, PluginNotFound)
                    assert "was ever published; see `forgemesh plugin list`" in fault.message


async def test_bad_metadata_is_refused_by_name(tmp_path: Path) -> None:
    async with (
        mesh(tmp_path, "1.0.0") as (balancer, _),
        keda(balancer.server.address, plugin=PLUGIN, targetUtilisation="1") as asker,
    ):
        for ask in questions(asker):
            fault = await refusal(ask)
            assert isinstance(fault, InvalidRequest)
            assert "did you mean targetUtilization?" in fault.message


async def test_more_metadata_than_anybody_writes_is_refused(tmp_path: Path) -> None:
    async with (
        mesh(tmp_path, "1.0.0") as (balancer, _),
        keda(balancer.server.address, plugin=PLUGIN, **{f"key-{number}": "" for number in range(64)}) as asker,
    ):
        fault = await refusal(asker.is_active())

    assert isinstance(fault, InvalidRequest)
    assert "scalerMetadata" in fault.message


async def test_what_the_registry_said_counts_while_it_is_away_and_of_others_nothing_is_said(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        registry = contextlib.AsyncExitStack()
        server = await registry.enter_async_context(registry_at(tmp_path / "registry.db"))
        async with registry_stub(server.address) as stub:
            made = manifest_pb2.Manifest(plugin_id=PLUGIN, version="1.0.0", max_concurrency=CAPACITY)
            made.operations.add(name="mean")
            await stub.PublishManifest(registry_pb.PublishManifestRequest(manifest=made))
        balancer = await stack.enter_async_context(balancer_of(server.address))
        await balancer.warm()
        known = await stack.enter_async_context(keda(balancer.server.address, plugin=PLUGIN))
        other = await stack.enter_async_context(keda(balancer.server.address, plugin="weather.other"))
        before = await known.target()
        await registry.aclose()

        after = await known.target(), await known.calls(), await known.is_active()
        refused = await refusal(other.target())

    assert list(after) == [before, 0.0, False]
    assert isinstance(refused, ServiceUnreachable)


async def test_nothing_is_said_of_calls_before_those_who_know_can_have_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demands, "SETTLING", 1e6)
    async with (
        mesh(tmp_path, "1.0.0") as (balancer, _),
        keda(balancer.server.address, plugin=PLUGIN) as asker,
        subscribed(balancer) as feed,
        asker.pushes() as pushes,
    ):
        unknown = [await refusal(ask) for ask in (asker.calls(), asker.is_active())]
        waiting(feed, any=1)
        certain = await pushed(pushes), await asker.is_active()

    assert [type(fault) for fault in unknown] == [BalancerWarming, BalancerWarming]
    assert certain == (True, True)


async def test_a_question_that_only_newer_releases_of_keda_know_is_not_implemented(
    tmp_path: Path,
) -> None:
    async with mesh(tmp_path, "1.0.0") as (balancer, _), connect(balancer.server.address) as channel:
        ask = channel.unary_stream(
            "/externalscaler.ExternalScaler/StreamMetricSpec",
            request_serializer=keda_pb.ScaledObjectRef.SerializeToString,
            response_deserializer=keda_pb.GetMetricSpecResponse.FromString,
        )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await anext(aiter(ask(keda_pb.ScaledObjectRef())))

    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_balancer_that_stops_ends_the_stream_in_good_order(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with mesh(tmp_path, "1.0.0") as (balancer, _):
            asker = await stack.enter_async_context(keda(balancer.server.address, plugin=PLUGIN))
            pushes = await stack.enter_async_context(asker.pushes())
            await pushed(pushes)
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await pushed(pushes)

    assert isinstance(from_rpc_error(ended.value), ShuttingDown)
