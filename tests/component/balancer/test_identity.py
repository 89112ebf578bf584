"""Who answers at the address of an instance is that instance, or the instance gets no calls."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from forgemesh.api.balancer.v1 import snapshot_pb2
from forgemesh.api.plugin.v1 import manifest_pb2, plugin_service_pb2 as pb
from forgemesh.api.plugin.v1.plugin_service_pb2_grpc import (
    PluginServiceServicer,
    add_PluginServiceServicer_to_server,
)
from forgemesh.api.registry.v1 import instance_pb2, registry_service_pb2
from forgemesh.balancer.adapters.proof_of_identity import NAMELESS
from forgemesh.chassis.health_facts import INSTANCE, PLUGIN
from tests.component.balancer.meshes import (
    ANYWHERE,
    PLUGIN as OURS,
    SECRET,
    balancer_of,
    healthy_instance,
    register,
    registry_at,
    registry_stub,
    subscribed,
)

SERVING, NOT_SERVING = snapshot_pb2.HEALTH_SERVING, snapshot_pb2.HEALTH_NOT_SERVING
UNREACHABLE = snapshot_pb2.HEALTH_UNREACHABLE


class _Described(PluginServiceServicer):
    """A plugin in any language, which says who it is as far as a test wants that."""

    def __init__(self, **said: Any) -> None:
        self.said = said

    async def Describe(self, request: pb.DescribeRequest, context: Any) -> pb.DescribeResponse:
        known = dict(self.said)
        manifest = manifest_pb2.Manifest(plugin_id=known.pop("plugin_id", ""))
        return pb.DescribeResponse(manifest=manifest, **known)


Described: Any = _Described  # two of its methods are left out


@contextlib.asynccontextmanager
async def serving_as(plugin: _Described | None, status: Any = None) -> AsyncIterator[str]:
    """Where plugin and health are served by one server that is no host of ours."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    if status is None:
        status = health.aio.HealthServicer()
        await status.set("readiness", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    if plugin is not None:
        add_PluginServiceServicer_to_server(plugin, server)
    port = server.add_insecure_port(ANYWHERE)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def registered_at(stub: Any, instance_id: str, plugin_id: str, address: str) -> int:
    """The incarnation."""
    instance = instance_pb2.Instance(
        instance_id=instance_id, plugin_id=plugin_id, plugin_version="1.0.0", address=address
    )
    request = registry_service_pb2.RegisterInstanceRequest(instance=instance, owner_token=SECRET)
    return int((await stub.RegisterInstance(request)).instance.incarnation)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"plugin_id": "other"}, "an instance of plugin 'other' answers at its address"),
        ({"plugin_id": OURS, "instance_id": "b"}, f"instance 'b' of plugin '{OURS}' answers at its address"),
        ({"instance_id": "a", "plugin_id": "other"}, "instance 'a' of plugin 'other' answers at its address"),
    ],
)
async def test_an_instance_at_whose_address_somebody_else_answers_is_out_and_says_why(
    tmp_path: Path, said: dict[str, str], reason: str
) -> None:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        serving_as(Described(**said)) as address,
        balancer_of(registry.address) as balancer,
        subscribed(balancer) as feed,
    ):
        await registered_at(stub, "a", OURS, address)
        snapshot = await feed.until_health(a=NOT_SERVING)

    assert snapshot.endpoints[0].health_reason == reason


async def test_of_two_registrations_at_one_address_the_one_that_answers_serves(tmp_path: Path) -> None:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        serving_as(Described(instance_id="b", plugin_id=OURS)) as address,
        balancer_of(registry.address) as balancer,
        subscribed(balancer) as feed,
    ):
        await registered_at(stub, "a", OURS, address)
        await registered_at(stub, "b", OURS, address)
        await feed.until_health(a=NOT_SERVING, b=SERVING)


@pytest.mark.parametrize("said", [None, {}, {"plugin_id": OURS}, {"plugin_id": OURS, "incarnation": 2**63}])
async def test_what_a_server_leaves_out_is_not_held_against_it(tmp_path: Path, said: dict[str, Any] | None) -> None:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        serving_as(None if said is None else Described(**said)) as address,
        balancer_of(registry.address) as balancer,
        subscribed(balancer) as feed,
    ):
        await registered_at(stub, "a", OURS, address)
        await feed.until_health(a=SERVING)


async def test_a_process_that_never_had_this_registration_does_not_serve_it(tmp_path: Path) -> None:
    plugin = Described(plugin_id=OURS, instance_id="a")
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        serving_as(plugin) as address,
    ):
        older = await registered_at(stub, "a", OURS, address)
        plugin.said["incarnation"] = older
        await registered_at(stub, "a", OURS, address)
        async with balancer_of(registry.address) as balancer, subscribed(balancer) as feed:
            snapshot = await feed.until_health(a=NOT_SERVING)
            plugin.said["incarnation"] = snapshot.endpoints[0].incarnation
            await feed.until_health(a=SERVING)

    assert f"(incarnation {older})" in snapshot.endpoints[0].health_reason


async def test_whoever_takes_the_place_of_an_instance_that_served_is_found_out(tmp_path: Path) -> None:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        balancer_of(registry.address) as balancer,
        subscribed(balancer) as feed,
    ):
        async with serving_as(Described(instance_id="a", plugin_id=OURS)) as address:
            await registered_at(stub, "a", OURS, address)
            await feed.until_health(a=SERVING)
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        status = health.aio.HealthServicer()
        await status.set("readiness", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(status, server)
        add_PluginServiceServicer_to_server(Described(plugin_id="other"), server)
        server.add_insecure_port(address)
        await server.start()
        try:
            snapshot = await feed.until_health(a=NOT_SERVING)
        finally:
            await server.stop(0)

    assert "plugin 'other' answers" in snapshot.endpoints[0].health_reason


@pytest.mark.parametrize("who", [{INSTANCE: "b", PLUGIN: OURS}, {INSTANCE: "a", PLUGIN: "other"}])
async def test_a_health_port_that_says_it_belongs_to_somebody_else_speaks_for_nobody(
    tmp_path: Path, who: dict[str, str]
) -> None:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        healthy_instance() as (instance, address),
        balancer_of(registry.address) as balancer,
        subscribed(balancer) as feed,
    ):
        instance.who = lambda: who
        await register(stub, "a", address)
        snapshot = await feed.until_health(a=NOT_SERVING)

    assert "answers at its address" in snapshot.endpoints[0].health_reason


async def test_whoever_does_not_say_who_they_are_where_the_instance_did_is_somebody_else(tmp_path: Path) -> None:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        healthy_instance() as (instance, address),
        balancer_of(registry.address) as balancer,
        subscribed(balancer) as feed,
    ):
        instance.who = lambda: {INSTANCE: "a", PLUGIN: OURS}
        await register(stub, "a", address)
        await feed.until_health(a=SERVING)
        instance.who = dict
        snapshot = await feed.until_reason(a=NAMELESS)

    assert snapshot.endpoints[0].health == NOT_SERVING


class _Checked(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # it has no types
    """Serves Check alone, which gives no answer while it is `silent`."""

    silent = False

    async def Check(self, request: Any, context: Any) -> health_pb2.HealthCheckResponse:
        if self.silent:
            await asyncio.Event().wait()
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)


async def test_whoever_answers_after_a_silence_is_asked_who_they_are(tmp_path: Path) -> None:
    plugin, checked = Described(instance_id="a", plugin_id=OURS), _Checked()
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        serving_as(plugin, checked) as address,
        balancer_of(registry.address) as balancer,
        subscribed(balancer) as feed,
    ):
        await registered_at(stub, "a", OURS, address)
        await feed.until_health(a=SERVING)
        checked.silent = True
        await feed.until_health(a=UNREACHABLE)
        plugin.said, checked.silent = {"plugin_id": "other"}, False
        snapshot = await feed.until_reason(a="an instance of plugin 'other' answers at its address")

    assert snapshot.endpoints[0].health == NOT_SERVING


async def test_a_health_port_that_says_it_belongs_to_the_instance_speaks_for_it(tmp_path: Path) -> None:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        healthy_instance() as (instance, address),
        balancer_of(registry.address) as balancer,
        subscribed(balancer) as feed,
    ):
        instance.who = lambda: {INSTANCE: "a", PLUGIN: OURS}
        await register(stub, "a", address)
        await feed.until_health(a=SERVING)
