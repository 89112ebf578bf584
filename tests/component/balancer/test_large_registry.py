"""A registry that has much to say: it tells of all its instances in one message."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from forgemesh.api.registry.v1 import instance_pb2
from forgemesh.chassis.channel import SESSION_LIMIT
from forgemesh.chassis.status import from_rpc_error
from forgemesh.registry.codec.requests import LONGEST_VALUE, MOST_LABELS
from tests.component.balancer.meshes import balancer_of, register, registry_at, registry_stub

INSTANCES = 300
NOBODY = "127.0.0.1:1"


def labels(size: int) -> dict[str, str]:
    """Labels of so many bytes together."""
    count = size // LONGEST_VALUE
    found = {f"{number:02}": "x" * (LONGEST_VALUE - 2) for number in range(count)}
    return found | ({"rest": "x" * (size % LONGEST_VALUE - 4)} if size % LONGEST_VALUE else {})


async def test_a_balancer_knows_all_instances_however_much_they_say_of_themselves(tmp_path: Path) -> None:
    caps: dict[str, Any] = {"max_instances_per_peer": INSTANCES, "max_instances_per_plugin": INSTANCES}
    async with (
        registry_at(tmp_path / "registry.db", **caps) as server,
        registry_stub(server.address) as registry,
    ):
        for number in range(INSTANCES):
            await register(
                registry,
                f"i-{number}",
                NOBODY,
                labels=labels(MOST_LABELS),
                state=instance_pb2.INSTANCE_STATE_CRASH_LOOP,
            )
        assert INSTANCES * MOST_LABELS > SESSION_LIMIT

        async with balancer_of(server.address, registry_silence=20.0) as balancer, asyncio.timeout(60.0):
            await balancer.warm()

            assert len(balancer.balancer.fleet.standings) == INSTANCES


async def test_labels_beyond_their_limit_are_refused_by_name(tmp_path: Path) -> None:
    async with registry_at(tmp_path / "registry.db") as server, registry_stub(server.address) as registry:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await register(registry, "i-1", NOBODY, labels=labels(MOST_LABELS) | {"more": ""})

    fault = from_rpc_error(refused.value)
    assert fault.reason == "INVALID_REQUEST"
    assert f"at most {MOST_LABELS} bytes together" in fault.message
