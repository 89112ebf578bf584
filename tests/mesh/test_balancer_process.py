"""What a balancer has acknowledged, and what becomes of it when its process is killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from forgemesh.api.balancer.v1.policy_pb2 import POLICY_LEAST_CONNECTIONS, PluginPolicy
from forgemesh.api.balancer.v1.snapshot_pb2 import CIRCUIT_STATE_CLOSED, CIRCUIT_STATE_FORCED_OPEN
from forgemesh.client import Balancer
from tests.mesh.processes import start_service
from tests.mesh.test_registry_process import (
    BALANCER,
    REGISTRY,
    balancer_environment,
    register,
    registry_environment,
)

pytestmark = pytest.mark.mesh

PLUGIN = "weather.stats"


async def test_a_killed_balancer_has_lost_no_order_and_no_policy_when_it_is_back(tmp_path: Path) -> None:
    async with start_service(REGISTRY, registry_environment(tmp_path), tmp_path) as registry:
        for instance_id in ("stats-1", "stats-2"):
            await register(registry.address, instance_id)
        environment = balancer_environment(registry.address)
        environment["FORGEMESH_BALANCER_DATABASE"] = str(tmp_path / "balancer.db")
        async with (
            start_service(BALANCER, environment, tmp_path) as service,
            Balancer.connect(service.address) as balancer,
        ):
            await balancer.set_circuit("open", PLUGIN, by="alice", reason="disk full")
            await balancer.set_circuit("reset", PLUGIN, "stats-2", by="alice")
            policy = PluginPolicy(plugin_id=PLUGIN, pick=POLICY_LEAST_CONNECTIONS)
            before = await balancer.set_policy(policy, by="alice")
            (generation, _) = [one.circuit.generation for one in await balancer.circuits()]
            await service.kill()
        async with (
            start_service(BALANCER, environment, tmp_path) as service,
            Balancer.connect(service.address) as balancer,
        ):
            first, second = await balancer.circuits()
            after = await balancer.policy(PLUGIN)

    assert (first.circuit.state, second.circuit.state) == (CIRCUIT_STATE_FORCED_OPEN, CIRCUIT_STATE_CLOSED)
    assert first.circuit.cause == "forced open by alice: disk full"
    assert first.circuit.generation >= generation
    assert after == before
