"""KEDA before a mesh of real processes: what it would make of a plugin's pods, from none up and down to none."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from forgemesh.chassis.status import from_rpc_error
from forgemesh.faults.routing import BalancerWarming
from forgemesh.faults.service import ServiceUnreachable
from forgemesh.routing.scaling import ScaleRule, wish
from tests.keda import DEADLINE, Keda, keda, pushed
from tests.mesh.circuit_mesh import running_circuit_mesh
from tests.mesh.moody import PLUGIN_ID

pytestmark = pytest.mark.mesh

CAPACITY, CALLS = 4, 15
RULE = ScaleRule(least=0, most=20)


@pytest.mark.timeout(1200)
async def test_pods_follow_the_calls_of_all_orchestrators_from_none_up_and_down_and_hold_while_nobody_knows(
    tmp_path: Path,
) -> None:
    async with running_circuit_mesh(tmp_path, orchestrators=2, instances=1, concurrency=CAPACITY) as mesh:
        await mesh.hosts["moody-1"].stop()
        async with keda(mesh.balancer.address, plugin=PLUGIN_ID) as asker:
            async with asker.pushes() as pushes:
                at_first = await pushed(pushes), await asker.pods(RULE.least, RULE.most)
                ids = {name: [f"{name}-{number}" for number in range(CALLS)] for name in mesh.orchestrators}
                for name, own in ids.items():
                    await mesh.start_many(name, own)
                brought = await pushed(pushes)
            await asker.until_calls(2 * CALLS)
            up = await asker.pods(RULE.least, RULE.most)

            for number in range(1, up + 1)[:2]:
                await mesh.start_host(f"moody-{number}", "hold")
            await mesh.until_serving("moody-1", "moody-2")
            await asker.until_calls(2 * CALLS)  # some run, and others wait
            await mesh.balancer.kill()
            await mesh.start_balancer()
            known_again = await first_answer(asker)

            for number in (1, 2):
                mesh.moods.set(f"moody-{number}", "ok")
            for name, own in ids.items():
                await mesh.ended(name, own)
            await asker.until_calls(0)
            down = await asker.pods(RULE.least, RULE.most)

    assert at_first == (False, 0)
    assert brought
    assert up == wish(RULE, 2 * CALLS, CAPACITY) == 11
    assert known_again == 2 * CALLS
    assert down == wish(RULE, 0, CAPACITY) == 0


async def first_answer(asker: Keda) -> float:
    """What a balancer says of calls as soon as it says anything; until then it says that it does not know."""
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                return await asker.calls()
            except grpc.aio.AioRpcError as error:
                if not isinstance(from_rpc_error(error), BalancerWarming | ServiceUnreachable):
                    raise
            await asyncio.sleep(0.02)
