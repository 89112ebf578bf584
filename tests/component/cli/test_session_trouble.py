"""What an operator sees of an instance that answers its health checks and refuses its sessions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from forgemesh.api.balancer.v1 import report_pb2
from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.api.registry.v1.registry_service_pb2 import PublishManifestRequest
from forgemesh.cli import picks, plugins, status
from forgemesh.faults.plugin import ProtocolBroken
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
from tests.component.cli.typed import Typed, typing
from tests.component.client.script import Script

SAID = ProtocolBroken("a", "it refuses the session with PERMISSION_DENIED: 'no'").message[:200]


@dataclass(frozen=True)
class OperatedMesh:
    """A command line that leads to a real registry and a real balancer; instance a serves."""

    typed: Typed
    balancer: ServedBalancer


@pytest.fixture
async def operated(tmp_path: Path) -> AsyncIterator[OperatedMesh]:
    async with (
        registry_at(tmp_path / "registry.db") as server,
        registry_stub(server.address) as registry,
        healthy_instance() as (_, address),
    ):
        manifest = manifest_pb2.Manifest(
            plugin_id=PLUGIN, version="1.0.0", operations=[manifest_pb2.Operation(name="mean")]
        )
        await registry.PublishManifest(PublishManifestRequest(manifest=manifest))
        await register(registry, "a", address)
        async with balancer_of(server.address) as balancer:
            services = {"registry": server.address, "balancer": balancer.server.address}
            async with typing(Script(services=services)) as typed:
                await balancer.warm()
                yield OperatedMesh(typed, balancer)


def counts(incarnation: int, **facts: object) -> report_pb2.CallCounts:
    return report_pb2.CallCounts(plugin_id=PLUGIN, instance_id="a", incarnation=incarnation, **facts)  # type: ignore[arg-type]


async def test_what_an_orchestrator_says_of_its_session_stands_in_every_list(operated: OperatedMesh) -> None:
    broken = report_pb2.CallFailure(code=13, reason=ProtocolBroken.reason, message=SAID)
    async with subscribed(operated.balancer) as feed:
        guarded = next(iter(operated.balancer.balancer.circuits))
        feed.report(counts(guarded.instance_key[1], failed=1, failures_in_a_row=1, last_failure=broken))
        async with asyncio.timeout(DEADLINE):
            while not guarded.circuit.failures_in_a_row:
                await asyncio.sleep(0.01)
        await status.status(line=operated.typed.line())
        await plugins.list_(line=operated.typed.line())
        await picks.pick(PLUGIN, explain=True, line=operated.typed.line())
        written = operated.typed.out.getvalue()
        operated.typed.out.truncate(0)
        operated.typed.out.seek(0)
        await status.status(line=operated.typed.line(json=True))

    assert "it refuses the session with PERMISSION_DENIED" in written
    assert "no session" in written
    assert f"workflows do not reach it: {SAID}" in operated.typed.talk
    assert json.loads(operated.typed.out.getvalue())["instances"][0]["reason"] == SAID


async def test_a_call_that_succeeds_since_then_is_the_end_of_it(operated: OperatedMesh) -> None:
    broken = report_pb2.CallFailure(code=13, reason=ProtocolBroken.reason, message=SAID)
    async with subscribed(operated.balancer) as feed:
        guarded = next(iter(operated.balancer.balancer.circuits))
        feed.report(counts(guarded.instance_key[1], failed=1, succeeded=1, failures_in_a_row=0, last_failure=broken))
        async with asyncio.timeout(DEADLINE):
            while guarded.circuit.last_failure is None:
                await asyncio.sleep(0.01)
        await status.status(line=operated.typed.line(json=True))

    assert json.loads(operated.typed.out.getvalue())["instances"][0]["reason"] == ""
