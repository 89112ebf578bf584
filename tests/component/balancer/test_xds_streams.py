"""What comes over an xDS stream, spoken by hand: limits, nonsense, and what a client may rely on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from forgemesh.api.xds.v3 import (
    cluster_pb2,
    core_pb2,
    discovery_service_pb2 as pb,
    endpoint_pb2,
    load_report_service_pb2 as load_pb,
)
from forgemesh.api.xds.v3.discovery_service_pb2_grpc import AggregatedDiscoveryServiceStub
from forgemesh.api.xds.v3.load_report_service_pb2_grpc import LoadReportingServiceStub
from forgemesh.balancer import xds_servicer
from forgemesh.balancer.application.requests import stock_clients
from forgemesh.balancer.domain.discovery import Kind
from forgemesh.chassis.channel import connect
from forgemesh.chassis.status import from_rpc_error
from forgemesh.faults.routing import BalancerFull, BalancerWarming
from forgemesh.faults.service import InvalidRequest, ShuttingDown
from forgemesh.routing.endpoint import CircuitState
from tests.component.balancer.meshes import DEADLINE, PLUGIN, balancer_of, registry_at
from tests.component.balancer.picking import circuit, mesh

Log = pytest.LogCaptureFixture


class Ads:
    """A stream of a client that says exactly what it is told to."""

    def __init__(self, channel: grpc.aio.Channel, node: str = "by-hand") -> None:
        self.node = node
        self._ended: grpc.aio.AioRpcError | None = None
        self.call = AggregatedDiscoveryServiceStub(channel).StreamAggregatedResources()

    async def say(
        self, kind: Kind | str, *names: str, to: pb.DiscoveryResponse | None = None, refusal: str = ""
    ) -> None:
        request = pb.DiscoveryRequest(
            node=core_pb2.Node(id=self.node),
            type_url=kind.url if isinstance(kind, Kind) else kind,
            resource_names=names,
        )
        if to is not None:
            request.response_nonce, request.version_info = to.nonce, to.version_info
        if refusal:
            request.error_detail.message = refusal
        await self.call.write(request)

    async def hear(self) -> pb.DiscoveryResponse:
        async with asyncio.timeout(DEADLINE):
            response = await self.call.read()
        assert isinstance(response, pb.DiscoveryResponse), await self.call.details()
        return response

    async def end(self) -> Any:
        """With what the stream ends."""
        async with asyncio.timeout(DEADLINE):
            while await self._read() is not None:
                pass
        assert self._ended is not None
        return from_rpc_error(self._ended)

    async def _read(self) -> object:
        try:
            return await self.call.read() or None
        except grpc.aio.AioRpcError as error:
            self._ended = error
            return None


@contextlib.asynccontextmanager
async def ads(address: str, **about: Any) -> AsyncIterator[Ads]:
    async with connect(address) as channel:
        stream = Ads(channel, **about)
        yield stream
        stream.call.cancel()


def members(response: pb.DiscoveryResponse) -> dict[str, list[str]]:
    """Instances by plugin."""
    found = [endpoint_pb2.ClusterLoadAssignment.FromString(one.value) for one in response.resources]
    return {one.cluster_name: [place.locality.sub_zone for place in one.endpoints] for one in found}


async def test_a_stream_is_told_each_kind_that_it_asks_for(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a") as (balancer, _), ads(balancer.server.address) as stream:
        heard = []
        for kind in Kind:
            await stream.say(kind, PLUGIN)
            heard.append(await stream.hear())

    assert [one.type_url for one in heard] == [kind.url for kind in Kind]
    assert {one.type_url for response in heard for one in response.resources} == {kind.url for kind in Kind}
    assert members(heard[1]) == {PLUGIN: ["a"]}


async def test_a_kind_that_is_not_served_is_passed_over_and_said_once(tmp_path: Path, caplog: Log) -> None:
    caplog.set_level("INFO", logger=xds_servicer.__name__)
    async with mesh(tmp_path, "a") as (balancer, _), ads(balancer.server.address) as stream:
        await stream.say(Kind.ENDPOINTS, PLUGIN)
        for unknown in ("type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "\x1b[31m" * 99, "x") * 3:
            await stream.say(unknown, "y")
        await stream.say(Kind.CLUSTER, PLUGIN)
        heard = [await stream.hear(), await stream.hear()]

    assert [one.type_url for one in heard] == [Kind.ENDPOINTS.url, Kind.CLUSTER.url]
    assert caplog.text.count("which is not served") == 1


async def test_a_refusal_is_said_once_by_name_and_cut_and_nothing_is_sent_again(tmp_path: Path, caplog: Log) -> None:
    async with mesh(tmp_path, "a") as (balancer, _), ads(balancer.server.address) as stream:
        await stream.say(Kind.CLUSTER, PLUGIN)
        refused = await stream.hear()
        for _ in range(5):
            await stream.say(Kind.CLUSTER, PLUGIN, to=refused, refusal="unusable " * 1000)
        await stream.say(Kind.ENDPOINTS, PLUGIN)
        following = await stream.hear()

    (line,) = [one.getMessage() for one in caplog.records if "cannot use" in one.getMessage()]
    assert line.startswith("by-hand cannot use the envoy.config.cluster.v3.Cluster it was sent and keeps nothing: unus")
    assert len(line) < 700
    assert following.type_url == Kind.ENDPOINTS.url


async def test_all_clusters_are_every_plugin_that_there_is(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a") as (balancer, _), ads(balancer.server.address) as stream:
        await stream.say(Kind.CLUSTER)
        heard = await stream.hear()

    assert [cluster_pb2.Cluster.FromString(one.value).name for one in heard.resources] == [PLUGIN]


async def test_names_beyond_the_limit_are_left_out_and_said(tmp_path: Path, caplog: Log) -> None:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        balancer_of(registry.address, xds_names=3) as balancer,
    ):
        await balancer.warm()
        async with ads(balancer.server.address) as stream:
            await stream.say(Kind.ENDPOINTS, *[f"plugin-{number}" for number in range(10)], "x" * 200)
            heard = await stream.hear()

    assert members(heard) == {"plugin-0": [], "plugin-1": [], "plugin-2": []}
    assert "8 names that by-hand gives are left out: at most 3 of 128 characters are taken" in caplog.text


async def test_a_message_with_too_many_names_ends_the_stream(tmp_path: Path) -> None:
    async with mesh(tmp_path) as (balancer, _), ads(balancer.server.address) as stream:
        await stream.say(Kind.ENDPOINTS, *["x"] * 10_001)
        fault = await stream.end()

    assert isinstance(fault, InvalidRequest)
    assert "10,001" in fault.message


async def test_a_client_whose_name_is_too_long_is_refused(tmp_path: Path) -> None:
    async with mesh(tmp_path) as (balancer, _), ads(balancer.server.address, node="x" * 257) as stream:
        await stream.say(Kind.ENDPOINTS, "x")
        fault = await stream.end()

    assert isinstance(fault, InvalidRequest)
    assert "node.id" in fault.message


async def test_one_who_says_nothing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xds_servicer, "HELLO_DEADLINE", 0.05)
    async with mesh(tmp_path) as (balancer, _), ads(balancer.server.address) as stream:
        fault = await stream.end()

    assert isinstance(fault, InvalidRequest)


async def test_bytes_that_are_no_request_end_the_stream_and_nothing_else(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a") as (balancer, _), connect(balancer.server.address) as channel:
        method = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
        call: Any = channel.stream_stream(method)()
        await call.write(b"\xff" * 50)
        code = await call.code()
        async with ads(balancer.server.address) as stream:
            await stream.say(Kind.ENDPOINTS, PLUGIN)
            heard = await stream.hear()

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert members(heard) == {PLUGIN: ["a"]}


async def test_streams_of_one_connection_are_limited_and_of_another_one_are_not_affected(tmp_path: Path) -> None:
    async with mesh(tmp_path) as (balancer, _), connect(balancer.server.address) as channel:
        streams = [Ads(channel) for _ in range(stock_clients.PER_CONNECTION + 1)]
        for stream in streams[:-1]:
            await stream.say(Kind.ENDPOINTS, "x")
            await stream.hear()
        await streams[-1].say(Kind.ENDPOINTS, "x")
        fault = await streams[-1].end()
        async with ads(balancer.server.address) as other:
            await other.say(Kind.ENDPOINTS, "x")
            await other.hear()
        for stream in streams:
            stream.call.cancel()

    assert isinstance(fault, BalancerFull)
    assert fault.metadata["where"] == "on this connection"


async def test_streams_of_one_host_are_limited_and_an_end_makes_room(tmp_path: Path) -> None:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        balancer_of(registry.address, xds_streams=2) as balancer,
    ):
        await balancer.warm()
        async with ads(balancer.server.address) as first, ads(balancer.server.address) as second:
            await first.say(Kind.ENDPOINTS, "x")
            await first.hear()
            await second.say(Kind.ENDPOINTS, "x")
            fault = await second.end()
            await first.call.done_writing()
            assert await first.call.code() is grpc.StatusCode.OK
            async with ads(balancer.server.address) as third:
                await third.say(Kind.ENDPOINTS, "x")
                await third.hear()

    assert isinstance(fault, BalancerFull)
    assert fault.metadata["where"] == "from 127.0.0.1"


async def test_a_balancer_that_is_not_warm_says_nothing_by_xds(tmp_path: Path) -> None:
    async with balancer_of("127.0.0.1:1") as balancer, ads(balancer.server.address) as stream:
        fault = await stream.end()

    assert isinstance(fault, BalancerWarming)


async def test_a_balancer_that_stops_ends_its_streams_at_once(tmp_path: Path) -> None:
    async with registry_at(tmp_path / "registry.db") as registry, contextlib.AsyncExitStack() as stack:
        async with balancer_of(registry.address, grace=DEADLINE) as balancer:
            await balancer.warm()
            stream = await stack.enter_async_context(ads(balancer.server.address))
            await stream.say(Kind.ENDPOINTS, "x")
            await stream.hear()
            channel = await stack.enter_async_context(connect(balancer.server.address))
            loads = LoadReportingServiceStub(channel).StreamLoadStats()
            await loads.write(load_pb.LoadStatsRequest())
            await loads.read()
        fault = await stream.end()

    assert isinstance(fault, ShuttingDown)
    assert await loads.code() is grpc.StatusCode.UNAVAILABLE


async def test_without_streams_xds_is_not_served(tmp_path: Path) -> None:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        balancer_of(registry.address, xds_streams=0) as balancer,
    ):
        await balancer.warm()
        async with ads(balancer.server.address) as stream:
            assert await stream.call.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_one_who_does_not_read_is_told_the_newest_when_he_does(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a") as (balancer, _), ads(balancer.server.address) as stream:
        await stream.say(Kind.ENDPOINTS, PLUGIN)
        first = await stream.hear()
        guarded = next(iter(balancer.balancer.circuits))
        for _ in range(2000):
            balancer.balancer.circuits.health_is_back(guarded.instance_key, "a test")
            balancer.balancer._publish()
            guarded.circuit = guarded.circuit.reset("a test", 0.0)
            balancer.balancer._circuit_changed(guarded, None, None)
            balancer.balancer._publish()
        async with asyncio.timeout(DEADLINE):
            heard = first
            while members(heard) != {PLUGIN: ["a"]} or heard.version_info == first.version_info:
                heard = await stream.hear()
        responses = int(heard.nonce)

    assert responses < 100, "states between were left out"


async def test_an_address_that_clients_cannot_use_is_left_out_and_said_once(tmp_path: Path, caplog: Log) -> None:
    async with mesh(tmp_path, "a") as (balancer, _), ads(balancer.server.address) as stream:
        member = balancer.balancer.fleet.standings["a"].member
        await stream.say(Kind.ENDPOINTS, PLUGIN)
        assert members(await stream.hear()) == {PLUGIN: ["a"]}
        balancer.balancer.changed(replace(member, address="somewhere.internal:7001"))

        assert members(await stream.hear()) == {PLUGIN: []}

    assert caplog.text.count("stock clients do not reach a: its address somewhere.internal:7001 is no IP and port") == 1


def load(locality: core_pb2.Locality, plugin_id: str = PLUGIN, **counts: int) -> load_pb.LoadStatsRequest:
    request = load_pb.LoadStatsRequest(node=core_pb2.Node(id="by-hand"))
    request.cluster_stats.add(cluster_name=plugin_id).upstream_locality_stats.add(locality=locality, **counts)
    return request


async def test_counts_that_cannot_be_change_nothing_and_those_that_can_open_the_circuit(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a") as (balancer, _), connect(balancer.server.address) as channel:
        stream = LoadReportingServiceStub(channel).StreamLoadStats()
        zone = ".".join(str(one) for one in (circuit_key(balancer)[1], circuit(balancer).generation))
        sound = core_pb2.Locality(region="forgemesh", zone=zone, sub_zone="a")
        failed: dict[str, Any] = {"total_error_requests": 50, "total_issued_requests": 50}
        for nonsense in (
            load_pb.LoadStatsRequest(node=core_pb2.Node(id="by-hand")),
            load(core_pb2.Locality(), **failed),
            load(core_pb2.Locality(zone="x.y", sub_zone="a"), **failed),
            load(core_pb2.Locality(zone=zone, sub_zone="nobody"), **failed),
            load(core_pb2.Locality(zone="9" * 99 + ".0", sub_zone="a"), **failed),
            load(core_pb2.Locality(zone="99.0", sub_zone="a"), **failed),
            load(sound, plugin_id="another", **failed),
            load(sound, total_error_requests=2**63, total_issued_requests=2**63),
            load(sound, total_successful_requests=1, total_issued_requests=1),
        ):
            await stream.write(nonsense)
        answer = await stream.read()
        async with asyncio.timeout(DEADLINE):
            while not any(one.counts for one in balancer.balancer.callers.present):
                await asyncio.sleep(0.01)
        after_nonsense = circuit(balancer).state
        await stream.write(load(sound, **failed))
        async with asyncio.timeout(DEADLINE):
            while circuit(balancer).state is not CircuitState.OPEN:
                await asyncio.sleep(0.01)
        stream.cancel()

    assert isinstance(answer, load_pb.LoadStatsResponse)
    assert answer.send_all_clusters
    assert answer.load_reporting_interval.seconds == 1
    assert after_nonsense is CircuitState.CLOSED


def circuit_key(balancer: Any) -> tuple[str, int]:
    key: tuple[str, int] = next(one.instance_key for one in balancer.balancer.circuits)
    return key


async def test_a_client_that_comes_back_follows_once(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a") as (balancer, _):
        for _ in range(5):
            async with ads(balancer.server.address) as stream:
                await stream.say(Kind.ENDPOINTS, PLUGIN)
                await stream.hear()
                followed = balancer.balancer.feed.is_followed_by_stock(PLUGIN)
            async with asyncio.timeout(DEADLINE):
                while balancer.balancer.feed.is_followed_by_stock(PLUGIN):
                    await asyncio.sleep(0.01)

    assert followed
