"""Random kill -9 of plugin hosts under load; FORGEMESH_KILLS of them, 20 in the suite, 1,000 by `make chaos`."""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from forgemesh.api.supervisor.v1 import host_pb2, supervisor_service_pb2 as pb
from tests.mesh.called_mesh import called_mesh
from tests.mesh.processes import alive, kill
from tests.mesh.supervised import Supervised, state_of

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(3600)]

KILLS = int(os.environ.get("FORGEMESH_KILLS", "20"))
INSTANCES = 4
RATE = min(50, KILLS)
"""Executions that start in a second."""


async def killed(mesh: Supervised, chance: random.Random) -> tuple[int, float]:
    """
    Kill one of the hosts; its process id, and after how long the supervisor tells that it is gone.

    All but one serve then: a plugin that nobody serves for long enough to be called is another case.
    """

    def serving(hosts: Iterable[host_pb2.Host]) -> list[host_pb2.Host]:
        return [host for host in hosts if state_of(host) == "READY"]

    hosts = await mesh.until(lambda hosts: len(serving(hosts.values())) >= INSTANCES - 1)
    victim = chance.choice(serving(hosts.values()))
    await mesh.stub.ListHosts(pb.ListHostsRequest(), timeout=10)  # the connection is there before the clock runs
    kill(victim.pid)
    killed_at = time.monotonic()
    while True:
        listed = await mesh.stub.ListHosts(pb.ListHostsRequest(), timeout=10)
        if any(host.instance_id == victim.instance_id and host.pid != victim.pid for host in listed.hosts):
            return victim.pid, time.monotonic() - killed_at
        await asyncio.sleep(0.005)


async def test_hosts_that_are_killed_again_and_again_cost_no_execution(tmp_path: Path) -> None:
    seed = int(os.environ.get("FORGEMESH_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"FORGEMESH_SEED={seed}")
    chance = random.Random(seed)
    keys = (f"instances = {INSTANCES}", 'crash_budget = { crashes = 100000, within = "1s" }')
    with subprocess.Popen(["sleep", "7200"], start_new_session=True) as bystander:
        try:
            async with called_mesh(tmp_path, *keys, rate=RATE, attempts=10) as (mesh, callers):
                gone = [await killed(mesh, chance) for _ in range(KILLS)]
                hosts = await mesh.until(lambda hosts: all(state_of(host) == "READY" for host in hosts.values()))
                left = [pid for pid, _ in gone if alive(pid)]
            untouched = bystander.poll() is None
        finally:
            bystander.kill()

    took = sorted(seconds for _, seconds in gone)
    p99 = took[min(len(took) - 1, int(len(took) * 0.99))]
    print(f"{KILLS} kills seen after {statistics.median(took) * 1000:.1f} ms (median), {p99 * 1000:.1f} ms (p99)")
    print(f"{len(callers.answers)} executions, {len(callers.failed)} failed")
    assert [(one.failure.reason, one.failure.message) for one in callers.failed] == []
    assert sum(host.restarts for host in hosts.values()) == KILLS
    assert left == []
    assert untouched
