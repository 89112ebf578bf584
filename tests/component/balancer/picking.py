"""A balancer with instances, and callers that pick there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from forgemesh.api.balancer.v1 import balancer_service_pb2 as pb, report_pb2, snapshot_pb2
from forgemesh.chassis.health import Health
from forgemesh.chassis.status import from_rpc_error
from forgemesh.faults import Fault
from forgemesh.routing.circuit_rule import CircuitRule
from forgemesh.routing.policy import PluginPolicy
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

OK, CANCELLED, UNKNOWN, DEADLINE_EXCEEDED, UNAVAILABLE = 0, 1, 2, 4, 14
LONG = CircuitRule(open=60.0, permit_lease=30.0)
BRIEF = CircuitRule(open=0.02, max_open=0.02, permit_lease=30.0)


@contextlib.asynccontextmanager
async def mesh(
    tmp_path: Path, *instance_ids: str, policy: PluginPolicy | None = None, **facts: Any
) -> AsyncIterator[tuple[ServedBalancer, Health]]:
    """A balancer with healthy instances that have one health together."""
    async with (
        registry_at(tmp_path / "registry.db", lease=600.0) as registry,
        registry_stub(registry.address) as stub,
        healthy_instance() as (health, address),
    ):
        for instance_id in instance_ids:
            await register(stub, instance_id, address, **facts)
        async with balancer_of(registry.address, health_deadline=10.0) as balancer:  # however busy the machine is
            if policy is not None:
                balancer.balancer.ruled(PLUGIN, policy)
            await balancer.warm()
            yield balancer, health


async def picked(balancer: ServedBalancer, **request: Any) -> pb.PickResponse:
    return await balancer.stub.Pick(pb.PickRequest(**({"plugin_id": PLUGIN} | request)))


async def settled(balancer: ServedBalancer, pick: pb.PickResponse, code: int = OK, **request: Any) -> bool:
    return (await balancer.stub.Settle(pb.SettleRequest(pick_id=pick.pick_id, code=code, **request))).applied


async def refusal(call: Any) -> Fault:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return from_rpc_error(refused.value)


async def fail(balancer: ServedBalancer, times: int, **request: Any) -> None:
    for _ in range(times):
        pick = await picked(balancer, **request)
        await settled(balancer, pick, UNAVAILABLE, failure=report_pb2.CallFailure(reason="HOST_LOST", message="gone"))


def circuit(balancer: ServedBalancer, instance_id: str = "a") -> Any:
    return next(one.circuit for one in balancer.balancer.circuits if one.instance_key[0] == instance_id)


def in_flight(balancer: ServedBalancer, instance_id: str = "a") -> int:
    instance_key = next(one.instance_key for one in balancer.balancer.circuits if one.instance_key[0] == instance_id)
    return balancer.balancer.callers.in_flight(instance_key)


async def half_open(balancer: ServedBalancer) -> None:
    """Until the only circuit is half open, after it was opened."""
    await fail(balancer, 5)
    async with asyncio.timeout(DEADLINE), subscribed(balancer) as feed:
        await feed.until_circuit(snapshot_pb2.CIRCUIT_STATE_HALF_OPEN)
