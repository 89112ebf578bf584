"""What a balancer says of itself before it has heard of any instance."""

from __future__ import annotations

import asyncio

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from forgemesh.chassis.health import LIVENESS, READINESS, STARTUP
from tests.component.balancer.meshes import DEADLINE, balancer_of

NOBODY = "127.0.0.1:1"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


async def test_a_balancer_whose_registry_is_away_has_started_and_is_not_ready() -> None:
    async with balancer_of(NOBODY) as served:
        for address in (served.server.address, served.server.health_address):
            async with grpc.aio.insecure_channel(address) as channel, asyncio.timeout(DEADLINE):
                watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=STARTUP))
                while (await watch.read()).status != SERVING:
                    pass
                check = health_pb2_grpc.HealthStub(channel).Check
                alive = await check(health_pb2.HealthCheckRequest(service=LIVENESS))
                ready = await check(health_pb2.HealthCheckRequest(service=READINESS))

            assert (alive.status, ready.status) == (SERVING, NOT_SERVING)
