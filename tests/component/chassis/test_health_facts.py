"""What an answer of grpc.health.v1 says beside the status."""

from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from forgemesh.chassis.health_facts import INSTANCE, PLUGIN, REASON, told_in
from tests.component.chassis.mill import PATIENCE, Mill, running

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVING = health_pb2.HealthCheckResponse.SERVING
PORTS = ("address", "health_address")


async def checked(mill: Mill, port: str, name: str = "readiness") -> tuple[int, dict[str, str]]:
    async with grpc.aio.insecure_channel(getattr(mill.serving, port)) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        call = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=PATIENCE)
        return (await call).status, told_in(await call.initial_metadata())


@pytest.mark.parametrize("port", PORTS)
async def test_a_process_that_is_hindered_is_not_ready_says_why_and_stays_alive(port: str) -> None:
    async with running() as mill:
        await mill.health.ready()
        await mill.health.hinder("database", "müde")
        await mill.health.ready()
        hindered, alive = await checked(mill, port), await checked(mill, port, "liveness")
        await mill.health.hinder("database", "")
        free = await checked(mill, port)

    assert hindered == (NOT_SERVING, {REASON: "müde"})
    assert alive[0] == SERVING
    assert free == (SERVING, {})


@pytest.mark.parametrize("port", PORTS)
async def test_of_two_hindrances_the_other_stays(port: str) -> None:
    async with running() as mill:
        await mill.health.ready()
        await mill.health.hinder("database", "it is gone")
        await mill.health.hinder("state", "it is taken")
        both = await checked(mill, port)
        await mill.health.hinder("database", "")
        one = await checked(mill, port)

    assert both == (NOT_SERVING, {REASON: "it is gone; it is taken"})
    assert one == (NOT_SERVING, {REASON: "it is taken"})


@pytest.mark.parametrize("port", PORTS)
async def test_every_answer_says_who_gives_it(port: str) -> None:
    who = {INSTANCE: "a-1", PLUGIN: "a"}
    async with running() as mill:
        mill.health.who = lambda: who
        await mill.health.ready()
        _, told = await checked(mill, port)
        async with grpc.aio.insecure_channel(getattr(mill.serving, port)) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            watch = stub.Watch(health_pb2.HealthCheckRequest(service="readiness"), timeout=PATIENCE)
            await watch.read()
            watched = told_in(await watch.initial_metadata())
            watch.cancel()

    assert told == watched == who


@pytest.mark.parametrize("port", PORTS)
async def test_a_reason_of_any_length_leaves_the_answer_readable(port: str) -> None:
    async with running() as mill:
        await mill.health.hinder("database", "ü" * 100_000)
        status, told = await checked(mill, port)

    assert status == NOT_SERVING
    assert len(told[REASON].encode()) <= 1024
