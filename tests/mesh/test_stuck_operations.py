"""Synchronous operations that never come back, in a real host with a real supervisor."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from forgemesh.api.plugin.v1 import invocation_pb2, plugin_service_pb2
from forgemesh.api.plugin.v1.plugin_service_pb2_grpc import PluginServiceStub
from forgemesh.api.supervisor.v1 import host_pb2
from forgemesh.chassis.channel import connect
from tests.mesh.processes import DEADLINE
from tests.mesh.supervised import plugin_source, running_registry, section, supervised

pytestmark = pytest.mark.mesh

BODY = """
@operation(timeout="100ms")
def sticks(self) -> None:
    while True:
        time.sleep(0.01)
"""


async def failure_of(address: str, operation: str) -> str:
    """The reason with which a call fails."""
    async with connect(address) as channel:
        request = plugin_service_pb2.InvokeRequest(invocation=invocation_pb2.Invocation(operation=operation))
        response = await PluginServiceStub(channel).Invoke(request, timeout=DEADLINE)
    return str(response.result.failure.reason)


async def test_a_host_whose_threads_never_come_back_is_degraded_by_name_and_replaced(tmp_path: Path) -> None:
    (tmp_path / "sticky.py").write_text(plugin_source("test.sticky", body=BODY, max_concurrency=2))
    line = (tmp_path / "sticky.py").read_text().splitlines().index("            time.sleep(0.01)") + 1
    hosts = {"FORGEMESH_HOST_STUCK": "0.1", "FORGEMESH_HOST_STUCK_RESTART": "1"}
    async with (
        running_registry(tmp_path) as registry,
        supervised(tmp_path, registry.address, section("sticky", tmp_path), **hosts) as mesh,
    ):
        before = (await mesh.in_state(sticky_1="READY"))["sticky-1"]
        address = (await mesh.instances())["sticky-1"].address
        reasons = await asyncio.gather(*(failure_of(address, "sticks") for _ in range(2)))
        found = await mesh.until(lambda hosts: hosts["sticky-1"].pid not in (0, before.pid))
        after = (await mesh.in_state(sticky_1="READY"))["sticky-1"]

        assert await mesh.call("sticky-1", "ping") == "1.0.0"

    place = f"2 of 2 places are held by operations whose calls are over: sticks at sticky.py:{line} in sticks (2)"
    told = [(host_pb2.HostState.Name(step.state), step.reason) for step in after.history]
    assert reasons == ["START_TO_CLOSE_TIMEOUT"] * 2
    assert f"sticks at sticky.py:{line} in sticks" in next(
        reason for state, reason in told if state == "HOST_STATE_DEGRADED"
    )
    assert ("HOST_STATE_BACKOFF", f"{place}; none has come back for 1 s") in told
    assert found["sticky-1"].restarts == 1
