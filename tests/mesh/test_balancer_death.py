from __future__ import annotations

import asyncio
import os
import time
from collections import defaultdict
from pathlib import Path

import pytest

from forgemesh.api.balancer.v1.snapshot_pb2 import PluginSnapshot
from tests.mesh.circuit_mesh import CLOSED, OPEN, running_circuit_mesh
from tests.mesh.feed_listener import listening
from tests.mesh.moody import PLUGIN_ID
from tests.mesh.steady_load import loaded

pytestmark = pytest.mark.mesh

RATE = 60
DEAD_SECONDS = float(os.environ.get("FORGEMESH_DEAD_SECONDS", "2"))
SICK, WELL = "moody-1", ("moody-2", "moody-3")


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kept", [True, False], ids=["from its database", "from its subscribers"])
async def test_nobody_misses_a_balancer_that_is_dead_and_the_next_one_knows_what_it_knew(
    tmp_path: Path, kept: bool
) -> None:
    async with running_circuit_mesh(tmp_path, orchestrators=2, instances=3, attempts=5, kept=kept) as mesh:
        await mesh.set_policy(circuit={"open_seconds": 300, "max_open_seconds": 300, "jitter": 0})
        async with listening(mesh.balancer.address, PLUGIN_ID) as feed, loaded(mesh, RATE) as load:
            mesh.moods.set(SICK, "fail")
            await mesh.until_circuit(SICK, OPEN)
            await load.until_answered(RATE // 2)
            epoch, began = feed.epoch, time.time()
            await mesh.balancer.kill()
            await asyncio.sleep(DEAD_SECONDS)  # the length of it is what is tested
            await mesh.start_balancer()
            await feed.until_epoch_after(epoch)
            await load.until_answered(RATE // 2)
            await load.finish()
            picks = [pick for pick in await load.picks() if pick.at > began]
        circuit = await mesh.circuit(SICK)

    assert len(load.answers) == load.started
    assert load.not_succeeded == []
    meanwhile = [one for one in load.answers if one.started_at.ToNanoseconds() / 1e9 > began]
    assert {one.steps[0].attempts for one in meanwhile} == {1}
    assert {pick.instance for pick in picks} == set(WELL)
    assert_nothing_was_forgotten([snapshot for _, snapshot in feed.heard if snapshot.revision.epoch > epoch])
    assert_generations_never_fell([snapshot for _, snapshot in feed.heard])
    assert circuit.circuit.open_for_millis > 0


async def test_no_step_asks_the_balancer_for_its_instance(tmp_path: Path) -> None:
    async with running_circuit_mesh(tmp_path, orchestrators=2, instances=3) as mesh:
        ids = {name: [f"{name}-{number}" for number in range(RATE)] for name in mesh.orchestrators}
        for name, own in ids.items():
            await mesh.start_many(name, own)
            await mesh.ended(name, own)
        asked = mesh.balancer_calls()

    assert len(mesh.moods.calls()) == 2 * RATE
    assert asked["Subscribe"] == 2
    assert (asked["Pick"], asked["Settle"]) == (0, 0)


def assert_nothing_was_forgotten(heard: list[PluginSnapshot]) -> None:
    """From its first word on a new balancer knows every instance, and which circuit is open."""
    assert heard
    for snapshot in heard:
        states = {endpoint.instance_id: endpoint.circuit.state for endpoint in snapshot.endpoints}
        assert states == {SICK: OPEN} | dict.fromkeys(WELL, CLOSED)


def assert_generations_never_fell(heard: list[PluginSnapshot]) -> None:
    newest: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for snapshot in heard:
        for endpoint in snapshot.endpoints:
            here = endpoint.incarnation, endpoint.circuit.generation
            assert here >= newest[endpoint.instance_id]
            newest[endpoint.instance_id] = here
