"""Two versions of a real plugin that say different things of repeating: what each run did is in a ledger."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from forgemesh.api.balancer.v1 import balancer_service_pb2 as pb, event_pb2, policy_pb2
from forgemesh.api.balancer.v1.balancer_service_pb2_grpc import BalancerServiceStub
from forgemesh.chassis.channel import connect
from forgemesh.client import Client
from tests.mesh.processes import DEADLINE, Service, eventually, start_service
from tests.mesh.saga_mesh import SagaMesh, running_saga_mesh

pytestmark = pytest.mark.mesh

PLUGIN = """
import asyncio, os
from forgemesh.plugin import Context, operation, plugin

VERSION = os.environ["CHARGES_VERSION"]


@plugin("test.charges", version=VERSION)
class Charges:
    @operation(idempotent=VERSION == "1.0.0")
    async def charge(self, ctx: Context) -> str:
        with open(os.environ["CHARGES_LEDGER"], "a") as ledger:
            ledger.write(f"{VERSION} {ctx.execution_id}\\n")
        if os.environ["CHARGES_DIE"]:
            os._exit(1)
        await asyncio.sleep(1.0)
        return VERSION
"""
WORKFLOW = """
name: charge
version: 1.0.0
steps: [{id: a, call: {plugin: test.charges, operation: charge}, retry: {initial: 1ms}}]
output: "${steps.a.output}"
"""
HEDGE_AFTER = 0.05


class Charging:
    """A mesh in which the workflow was registered when there was only the version that may be repeated."""

    def __init__(self, mesh: SagaMesh) -> None:
        self.mesh = mesh
        self.ledger = mesh.directory / "charges"

    @contextlib.asynccontextmanager
    async def host(self, instance_id: str, version: str, *, dies: bool = False) -> AsyncIterator[Service]:
        environment = {
            **self.mesh.host,
            "FORGEMESH_HOST_LOAD": "charges:Charges",
            "FORGEMESH_HOST_INSTANCE_ID": instance_id,
            "CHARGES_VERSION": version,
            "CHARGES_LEDGER": str(self.ledger),
            "CHARGES_DIE": "yes" if dies else "",
        }
        async with start_service("forgemesh.plugin_host.main", environment, self.mesh.directory) as service:
            yield service

    @contextlib.asynccontextmanager
    async def hosts(self, version: str) -> AsyncIterator[None]:
        async with self.host(f"{version}-1", version), self.host(f"{version}-2", version):
            yield

    async def hedges(self) -> None:
        """Answers are late after a moment."""
        policy = policy_pb2.PluginPolicy(plugin_id="test.charges")
        policy.operations["charge"].hedge_after_seconds = HEDGE_AFTER
        async with connect(self.mesh.environment["FORGEMESH_ORCHESTRATOR_BALANCER"]) as channel:
            request = pb.SetPolicyRequest(policy=policy, author=event_pb2.Author(actor="test"))
            await BalancerServiceStub(channel).SetPolicy(request, timeout=DEADLINE)

    def runs(self) -> list[str]:
        return self.ledger.read_text().splitlines() if self.ledger.exists() else []


@pytest.fixture
async def charging(tmp_path: Path) -> AsyncIterator[Charging]:
    (tmp_path / "charges.py").write_text(PLUGIN)
    async with running_saga_mesh(tmp_path, hosts=0) as mesh, mesh.orchestrator():
        found = Charging(mesh)
        async with found.host("first", "1.0.0"), Client.connect(mesh.address) as client:
            await client.register(WORKFLOW)
        yield found


async def charged(charging: Charging, execution_id: str) -> str:
    async with asyncio.timeout(DEADLINE), Client.connect(charging.mesh.address) as client:
        execution = await client.start("charge", execution_id=execution_id)
        return str(await execution.result())


async def test_a_version_that_may_not_be_repeated_runs_once_although_its_answer_is_late(charging: Charging) -> None:
    await charging.hedges()
    async with charging.hosts("1.1.0"):
        assert await charged(charging, "late") == "1.1.0"

    assert charging.runs() == ["1.1.0 late"]


async def test_a_version_that_may_be_repeated_is_called_again_when_its_answer_is_late(charging: Charging) -> None:
    await charging.hedges()
    async with charging.hosts("1.0.0"):
        assert await charged(charging, "late") == "1.0.0"

    assert charging.runs() == ["1.0.0 late"] * 2


async def test_what_a_version_that_may_be_repeated_did_is_not_done_again_by_one_that_may_not(
    charging: Charging,
) -> None:
    async with (
        asyncio.timeout(DEADLINE),
        charging.host("dies", "1.0.0", dies=True) as host,
        Client.connect(charging.mesh.address) as client,
    ):
        execution = await client.start("charge", execution_id="lost")
        await host.wait()
        async with charging.hosts("1.1.0"):
            beside = await client.start("charge", execution_id="beside")
            assert await beside.result() == "1.1.0"

            async def waits() -> bool:
                found = await execution.explain()
                return any("an earlier attempt may have had its effect" in one.message for one in found.hindrances)

            await eventually(waits)
        assert charging.runs() == ["1.0.0 lost", "1.1.0 beside"]
        async with charging.host("again", "1.0.0"):
            assert await execution.result() == "1.0.0"
