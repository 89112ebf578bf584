"""What an operator sees of a host that the registry has refused, which serves nobody."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from forgemesh.api.registry.v1 import instance_pb2
from forgemesh.api.registry.v1.registry_service_pb2 import RegisterInstanceRequest
from forgemesh.cli import plugins, status
from tests.component.balancer.meshes import (
    PLUGIN,
    balancer_of,
    healthy_instance,
    register,
    registry_at,
    registry_stub,
)
from tests.component.cli.typed import Typed, typing
from tests.component.client.script import Script

if TYPE_CHECKING:
    from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub


@dataclass(frozen=True)
class OperatedMesh:
    """A command line that leads to a real registry and a real balancer; instance a serves."""

    typed: Typed
    registry: RegistryServiceAsyncStub


@pytest.fixture
async def operated(tmp_path: Path) -> AsyncIterator[OperatedMesh]:
    async with (
        registry_at(tmp_path / "registry.db") as server,
        registry_stub(server.address) as registry,
        healthy_instance() as (_, address),
    ):
        await register(registry, "a", address)
        async with balancer_of(server.address) as balancer:
            services = {"registry": server.address, "balancer": balancer.server.address}
            async with typing(Script(services=services)) as typed:
                await balancer.warm()
                yield OperatedMesh(typed, registry)


async def test_the_status_and_the_list_of_plugins_name_it_with_the_reason(operated: OperatedMesh) -> None:
    instance = instance_pb2.Instance(instance_id="a", plugin_id=PLUGIN, plugin_version="1.0.0", address="127.0.0.1:2")
    with pytest.raises(grpc.aio.AioRpcError):
        await operated.registry.RegisterInstance(
            RegisterInstanceRequest(instance=instance, owner_token="of another one")
        )
    said, told = [], []
    for command in (status.status, plugins.list_):
        for as_json in (False, True):
            operated.typed.out.truncate(0)
            operated.typed.out.seek(0)
            await command(line=operated.typed.line(json=as_json))
            written = operated.typed.out.getvalue()
            if as_json:
                told += json.loads(written)["refused"]
            else:
                said.append(written.splitlines()[-1])

    for line in said:
        assert line.startswith(f"a of {PLUGIN} 1.0.0 (from 127.0.0.1) was refused ")
        assert "is registered by another process" in line
    assert [one["reason"] for one in told] == ["INSTANCE_OWNED_BY_OTHER"] * 2


async def test_where_nobody_was_refused_nothing_is_said_about_it(operated: OperatedMesh) -> None:
    await status.status(line=operated.typed.line())

    assert "refused" not in operated.typed.out.getvalue()
