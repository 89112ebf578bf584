from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health, health_pb2_grpc

from forgemesh.api.balancer.v1 import snapshot_pb2 as pb
from tests.component.balancer.meshes import (
    ANYWHERE,
    Subscriber,
    balancer_of,
    deregister,
    healthy_instance,
    register,
    registry_at,
    registry_stub,
    subscribed,
)

SERVING, NOT_SERVING = pb.HEALTH_SERVING, pb.HEALTH_NOT_SERVING
UNREACHABLE, UNCHECKED = pb.HEALTH_UNREACHABLE, pb.HEALTH_UNSPECIFIED
RARELY = 3_600.0


async def test_an_instance_that_turns_not_serving_and_back_is_told_at_once_by_its_watch(tmp_path: Path) -> None:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        healthy_instance() as (instance, address),
    ):
        await register(stub, "a", address)
        async with balancer_of(registry.address, health_interval=RARELY) as balancer, subscribed(balancer) as feed:
            await feed.until_health(a=SERVING)
            await instance.not_ready()
            snapshot = await feed.until_health(a=NOT_SERVING)
            await instance.ready()
            await feed.until_health(a=SERVING)

    assert "does not serve" in snapshot.endpoints[0].health_reason


async def test_an_instance_whose_process_dies_is_out_without_waiting_for_a_check(tmp_path: Path) -> None:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        contextlib.AsyncExitStack() as dying,
    ):
        _, address = await dying.enter_async_context(healthy_instance())
        await register(stub, "a", address)
        async with balancer_of(registry.address, health_interval=RARELY) as balancer, subscribed(balancer) as feed:
            await feed.until_health(a=SERVING)
            await dying.aclose()
            snapshot = await feed.until_health(a=UNREACHABLE)

    assert "no connection" in snapshot.endpoints[0].health_reason


@contextlib.asynccontextmanager
async def silent_process() -> AsyncIterator[str]:
    """It takes connections and never answers, as a stopped process does."""
    connections: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: connections.append(writer), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server:
        yield f"{host}:{port}"
        for writer in connections:
            writer.close()


async def test_an_instance_that_never_answers_is_out_after_two_misses(tmp_path: Path) -> None:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        silent_process() as address,
    ):
        await register(stub, "a", address)
        async with balancer_of(registry.address) as balancer, subscribed(balancer) as feed:
            snapshot = await feed.until_health(a=UNREACHABLE)

    assert re.fullmatch("no answer .*, 2 times", snapshot.endpoints[0].health_reason)


@contextlib.asynccontextmanager
async def server_with(*services: str) -> AsyncIterator[str]:
    """A server with a health service that knows these names; with none there is no health service."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    if services:
        servicer = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port(ANYWHERE)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


@pytest.mark.parametrize(
    ("services", "reason"),
    [((), "has no grpc.health.v1 service"), (("another",), "does not know 'readiness'")],
)
async def test_an_instance_whose_health_cannot_be_asked_for_is_never_healthy(
    tmp_path: Path, services: tuple[str, ...], reason: str
) -> None:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        server_with(*services) as address,
    ):
        await register(stub, "a", address)
        async with balancer_of(registry.address) as balancer, subscribed(balancer) as feed:
            snapshot = await feed.until_health(a=NOT_SERVING)

    assert reason in snapshot.endpoints[0].health_reason


async def test_an_instance_without_a_health_service_serves_where_that_is_trusted(tmp_path: Path) -> None:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        server_with() as address,
    ):
        await register(stub, "a", address)
        trusting = balancer_of(registry.address, trust_without_health=True)
        async with trusting as balancer, subscribed(balancer) as feed:
            snapshot = await feed.until_health(a=SERVING)

    assert "is trusted here" in snapshot.endpoints[0].health_reason


async def test_a_new_incarnation_is_checked_where_it_is_now(tmp_path: Path) -> None:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        silent_process() as nowhere,
        healthy_instance() as (_, address),
    ):
        first = await register(stub, "a", nowhere)
        async with balancer_of(registry.address) as balancer, subscribed(balancer) as feed:
            await feed.until_health(a=UNREACHABLE)
            second = await register(stub, "a", address)
            snapshot = await feed.until_health(a=SERVING)

    assert first.instance.incarnation < second.instance.incarnation == snapshot.endpoints[0].incarnation


async def test_a_draining_instance_is_told_as_draining_and_then_as_gone(tmp_path: Path) -> None:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        healthy_instance() as (_, address),
    ):
        registered = await register(stub, "a", address)
        async with balancer_of(registry.address) as balancer, subscribed(balancer) as feed:
            await feed.until_health(a=SERVING)
            await deregister(stub, registered, drain=True)
            await feed.until(lambda endpoints: endpoints["a"].admission == pb.ADMISSION_DRAINING)
            assert feed.snapshots["weather.stats"].endpoints[0].health == SERVING
            await deregister(stub, registered)
            snapshot = await feed.until_health()

    assert not snapshot.endpoints


async def test_when_the_registry_is_away_everything_stays_and_health_is_still_checked(tmp_path: Path) -> None:
    async with healthy_instance() as (instance, address), contextlib.AsyncExitStack() as outlasting:
        async with registry_at(tmp_path / "registry.db") as registry, registry_stub(registry.address) as stub:
            await register(stub, "a", address)
            balancer = await outlasting.enter_async_context(balancer_of(registry.address))
            feed: Subscriber = await outlasting.enter_async_context(subscribed(balancer))
            await feed.until_health(a=SERVING)
            where = registry.address
        await instance.not_ready()
        await feed.until_health(a=NOT_SERVING)
        await instance.ready()
        before = await feed.until_health(a=SERVING)

        async with registry_at(tmp_path / "registry.db", where), registry_stub(where) as stub:
            await register(stub, "b", address)
            after = await feed.until_health(a=SERVING, b=SERVING)

    assert after.endpoints[0].incarnation == before.endpoints[0].incarnation
    assert after.revision.epoch == before.revision.epoch


async def test_after_changes_that_nobody_remembers_the_balancer_lists_anew(tmp_path: Path) -> None:
    """A registry remembers no changes from before its start; one with a new database has another history."""
    async with healthy_instance() as (_, address), contextlib.AsyncExitStack() as outlasting:
        async with registry_at(tmp_path / "registry.db") as registry, registry_stub(registry.address) as stub:
            leaving = await register(stub, "a", address)
            await register(stub, "b", address)
            balancer = await outlasting.enter_async_context(balancer_of(registry.address))
            feed: Subscriber = await outlasting.enter_async_context(subscribed(balancer))
            before = await feed.until_health(a=SERVING, b=SERVING)
            where = registry.address
        async with registry_at(tmp_path / "registry.db") as elsewhere, registry_stub(elsewhere.address) as stub:
            await deregister(stub, leaving)
            await register(stub, "c", address)
        async with registry_at(tmp_path / "registry.db", where):
            after = await feed.until_health(b=SERVING, c=SERVING)
        async with registry_at(tmp_path / "another.db", where), registry_stub(where) as stub:
            await feed.until_health()
            await register(stub, "d", address)
            await feed.until_health(d=SERVING)

    assert after.endpoints[0] == _aged(before.endpoints[1], after.endpoints[0])


def _aged(endpoint: pb.Endpoint, like: pb.Endpoint) -> pb.Endpoint:
    """The same endpoint, with the ages of the other."""
    aged = pb.Endpoint()
    aged.CopyFrom(endpoint)
    aged.health_age_millis = like.health_age_millis
    aged.warming_age_millis = like.warming_age_millis
    return aged
