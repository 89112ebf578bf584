"""Plugin hosts that no supervisor looks after, as in a pod: they register themselves, or say why they cannot."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from forgemesh.api.registry.v1 import instance_pb2, registry_service_pb2 as pb
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from forgemesh.chassis.channel import connect
from forgemesh.chassis.server import Serving
from forgemesh.client import Client
from tests.mesh.pid_namespace import AS_FIRST_PROCESS, NO_NAMESPACE
from tests.mesh.processes import DEADLINE, eventually, start_service
from tests.mesh.saga_mesh import ANYWHERE, running_saga_mesh
from tests.mesh.supervised import running_registry

pytestmark = pytest.mark.mesh

HOST = "forgemesh.plugin_host.main"
PLUGIN = """
import asyncio, os
from pathlib import Path

from forgemesh.plugin import operation, plugin


@plugin("test.slow", version="1.0.0", max_concurrency=4)
class Slow:
    '''DESCRIPTION'''

    @operation(idempotent=False)
    async def pay(self) -> str:
        me = os.environ["FORGEMESH_HOST_INSTANCE_ID"]
        with open("ledger", "a") as ledger:
            ledger.write(f"{me}\\n")
        while Path(f"{me}.gate").exists():
            await asyncio.sleep(0.02)
        return me
"""
WORKFLOW = """
name: pay
version: 1.0.0
steps:
  - id: pay
    call: {plugin: test.slow, operation: pay}
    timeouts: {start_to_close: 60s}
output: "${steps.pay.output}"
"""


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Serving]:
    async with running_registry(tmp_path) as serving:
        yield serving


def registry_environment(tmp_path: Path, listen: str = ANYWHERE) -> dict[str, str]:
    return {
        "FORGEMESH_REGISTRY_LISTEN": listen,
        "FORGEMESH_REGISTRY_HEALTH_LISTEN": ANYWHERE,
        "FORGEMESH_REGISTRY_DATABASE": str(tmp_path / "registry.db"),
    }


def host_environment(tmp_path: Path, registry: str, description: str = "As it is.", **others: str) -> dict[str, str]:
    """With the plugin as a file; its lease is so long that nothing in a test waits for its end."""
    (tmp_path / "slow_plugin.py").write_text(PLUGIN.replace("DESCRIPTION", description))
    return {
        "FORGEMESH_HOST_LOAD": "slow_plugin:Slow",
        "FORGEMESH_HOST_PATH": str(tmp_path),
        "FORGEMESH_HOST_REGISTRY": registry,
        "FORGEMESH_HOST_INSTANCE_ID": "slow-1",
        "FORGEMESH_HOST_LEASE_TTL": "600",
        **others,
    }


def run_to_its_end(environment: dict[str, str], tmp_path: Path) -> subprocess.CompletedProcess[str]:
    python_path = os.pathsep.join(path for path in sys.path if path)
    return subprocess.run(
        [sys.executable, "-m", HOST],
        env={**os.environ, "PYTHONPATH": python_path, **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


async def instances(registry: str) -> list[instance_pb2.Instance]:
    async with connect(registry) as channel:
        found = await RegistryServiceStub(channel).ListInstances(pb.ListInstancesRequest(), timeout=DEADLINE)
    return list(found.instances)


async def test_a_host_that_is_refused_for_good_ends_at_once_with_one_sentence_about_what_to_do(
    tmp_path: Path, registry: Serving
) -> None:
    async with start_service(HOST, host_environment(tmp_path, registry.address), tmp_path):
        environment = host_environment(tmp_path, registry.address, "As it is now.", FORGEMESH_HOST_INSTANCE_ID="slow-2")
        ended = await asyncio.to_thread(run_to_its_end, environment, tmp_path)

    said = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert ended.returncode == 1
    assert len(said) == 1
    assert said[0].startswith(f"error: cannot register slow-2 at {registry.address}: ")
    assert "raise its version" in said[0]
    assert "Traceback" not in ended.stderr


async def test_a_host_whose_id_is_taken_by_a_live_one_ends_and_names_it(tmp_path: Path, registry: Serving) -> None:
    holder = host_environment(tmp_path, registry.address, FORGEMESH_HOST_LEASE_TTL="1")
    async with start_service(HOST, holder, tmp_path) as first:
        ended = await asyncio.to_thread(run_to_its_end, holder, tmp_path)
        (instance,) = await instances(registry.address)

    assert ended.returncode == 1
    assert f"is registered by another process, at {first.address}" in ended.stderr
    assert "FORGEMESH_HOST_INSTANCE_ID" in ended.stderr
    assert instance.address == first.address


async def test_a_host_whose_id_was_taken_while_it_stood_still_ends_and_leaves_it_to_the_other_one(
    tmp_path: Path, registry: Serving
) -> None:
    environment = host_environment(tmp_path, registry.address, FORGEMESH_HOST_LEASE_TTL="1")

    async def gone() -> bool:
        return not await instances(registry.address)

    async with start_service(HOST, environment, tmp_path) as first:
        first.process.send_signal(signal.SIGSTOP)
        await eventually(gone)
        async with start_service(HOST, environment, tmp_path) as second:
            first.process.send_signal(signal.SIGCONT)
            code = await first.wait()
            (instance,) = await instances(registry.address)

    assert code == 1
    assert "error: cannot register slow-1" in first.log.read_text()
    assert instance.address == second.address


async def test_a_host_waits_for_a_registry_that_is_away_when_it_starts_and_says_so(tmp_path: Path) -> None:
    async with running_registry(tmp_path) as gone:
        address = gone.address
    environment = host_environment(tmp_path, address)

    async def says_why() -> bool:
        return any("cannot register" in log.read_text() for log in tmp_path.glob(f"{HOST}-*.log"))

    async def served() -> int:
        async with start_service(HOST, environment, tmp_path) as service:
            return int(service.facts["incarnation"])

    starting = asyncio.create_task(served())
    await eventually(says_why)
    waited = not starting.done()
    async with start_service("forgemesh.registry.main", registry_environment(tmp_path, address), tmp_path):
        incarnation = await starting

    assert waited
    assert incarnation > 0


async def test_a_host_that_waits_for_its_registry_ends_in_good_order_when_it_is_told_to(tmp_path: Path) -> None:
    async with running_registry(tmp_path) as registry:
        pass
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        HOST,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            **host_environment(tmp_path, registry.address),
        },
        cwd=tmp_path,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    async with asyncio.timeout(DEADLINE):
        while b"cannot register" not in await process.stderr.readline():
            pass
        process.terminate()
        said = await process.stderr.read()
        code = await process.wait()

    assert code == 0
    assert b"Traceback" not in said


async def test_a_host_that_is_started_again_beside_its_token_file_takes_its_own_lease_over(
    tmp_path: Path, registry: Serving
) -> None:
    token = tmp_path / "owner-token"
    environment = host_environment(tmp_path, registry.address, FORGEMESH_HOST_OWNER_TOKEN_FILE=str(token))
    async with start_service(HOST, environment, tmp_path) as first:
        await first.kill()
        made = token.read_text()
        async with start_service(HOST, environment, tmp_path) as second:
            (instance,) = await instances(registry.address)

    assert token.stat().st_mode & 0o777 == 0o600
    assert token.read_text() == made
    assert second.facts["incarnation"] > first.facts["incarnation"]
    assert instance.incarnation == second.facts["incarnation"]


async def test_a_host_that_may_not_write_its_token_file_says_which(tmp_path: Path, registry: Serving) -> None:
    token = tmp_path / "not-there" / "owner-token"
    environment = host_environment(tmp_path, registry.address, FORGEMESH_HOST_OWNER_TOKEN_FILE=str(token))

    ended = await asyncio.to_thread(run_to_its_end, environment, tmp_path)

    assert ended.returncode == 1
    assert f"error: owner_token_file: the key file {token} cannot be made" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.skipif(bool(NO_NAMESPACE), reason=NO_NAMESPACE)
async def test_the_first_process_of_a_container_is_called_as_its_machine_is(tmp_path: Path, registry: Serving) -> None:
    environment = host_environment(tmp_path, registry.address, FORGEMESH_HOST_INSTANCE_ID="")
    async with start_service(HOST, environment, tmp_path, under=AS_FIRST_PROCESS) as service:
        (instance,) = await instances(registry.address)

    assert service.facts["instance_id"] == instance.instance_id == socket.gethostname()


async def test_a_call_that_must_not_be_repeated_outlives_the_sigterm_of_its_host_within_the_grace(
    tmp_path: Path,
) -> None:
    gate = tmp_path / "slow-1.gate"
    gate.touch()
    async with running_saga_mesh(tmp_path, hosts=0) as mesh, mesh.orchestrator():
        registry = mesh.host["FORGEMESH_HOST_REGISTRY"]
        old = host_environment(tmp_path, registry, FORGEMESH_HOST_GRACE="60")
        new = old | {"FORGEMESH_HOST_INSTANCE_ID": "slow-2"}

        async def begun() -> bool:
            return (tmp_path / "ledger").exists()

        async def drains() -> bool:
            states = {one.instance_id: one.state for one in await instances(registry)}
            return states["slow-1"] == instance_pb2.INSTANCE_STATE_DRAINING

        async with Client.connect(mesh.address) as client, start_service(HOST, old, tmp_path) as leaving:
            await client.register(WORKFLOW)
            first = await client.start("pay", {})
            await eventually(begun)
            async with start_service(HOST, new, tmp_path):
                leaving.process.send_signal(signal.SIGTERM)
                await eventually(drains)
                later = [await client.start("pay", {}) for _ in range(4)]
                gate.unlink()
                result = await first.result()
                code = await leaving.wait()
                others = [await one.result() for one in later]

    assert (result, code) == ("slow-1", 0)
    assert sorted((tmp_path / "ledger").read_text().splitlines()) == sorted([result, *others])
