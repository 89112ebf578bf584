"""Plugin hosts and their supervisor as processes, with a real registry."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from forgemesh.api.plugin.v1 import invocation_pb2, plugin_service_pb2
from forgemesh.api.plugin.v1.plugin_service_pb2_grpc import PluginServiceStub
from forgemesh.api.registry.v1 import instance_pb2, registry_service_pb2
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from forgemesh.api.supervisor.v1 import host_pb2, supervisor_service_pb2 as pb
from forgemesh.api.supervisor.v1.supervisor_service_pb2_grpc import SupervisorServiceStub
from forgemesh.chassis.channel import connect
from forgemesh.chassis.server import Serving
from tests.component.plugin_host.collector import attributes_of, collecting
from tests.mesh.processes import DEADLINE, Service, alive, eventually, kill, start_service
from tests.mesh.supervised import running_registry

pytestmark = pytest.mark.mesh

HOST = "forgemesh.plugin_host.main"
SUPERVISOR = "forgemesh.plugin_host.supervisor.main"
ANYWHERE = "127.0.0.1:0"

PLUGIN = """
import asyncio, os, subprocess, sys, time

from opentelemetry import trace

from forgemesh.plugin import operation, plugin

tracer = trace.get_tracer("author")
print("x" * int(os.environ.get("NOISE", "0")), end="", flush=True)


@plugin("test.sleeper", version="1.0.0", max_concurrency=4)
class Sleeper:
    def __init__(self) -> None:
        print("y" * int(os.environ.get("NOISE", "0")))

    @operation
    async def sleep(self, seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    @operation
    async def environment(self) -> dict[str, str]:
        return dict(os.environ)

    @operation
    async def block(self, seconds: float) -> None:
        time.sleep(seconds)

    @operation
    async def child(self) -> int:
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid

    @operation
    def work(self) -> str:
        with tracer.start_as_current_span("outer"):
            with tracer.start_as_current_span("inner"):
                return "done"
"""


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Serving]:
    async with running_registry(tmp_path) as serving:
        yield serving


@contextlib.asynccontextmanager
async def supervisor(tmp_path: Path, registry: str, section: str = "", **others: str) -> AsyncIterator[Service]:
    (tmp_path / "sleeper_plugin.py").write_text(PLUGIN)
    (tmp_path / "forgemesh.toml").write_text(f'[plugins.sleeper]\nload = "sleeper_plugin:Sleeper"\n{section}\n')
    environment = {
        "FORGEMESH_SUPERVISOR_LISTEN": ANYWHERE,
        "FORGEMESH_SUPERVISOR_HEALTH_LISTEN": ANYWHERE,
        "FORGEMESH_SUPERVISOR_REGISTRY": registry,
        "FORGEMESH_SUPERVISOR_TRACES": "",
        "FORGEMESH_SUPERVISOR_LOG_DIRECTORY": str(tmp_path / "logs"),
        **others,
    }
    async with start_service(SUPERVISOR, environment, tmp_path) as service:
        yield service


@contextlib.asynccontextmanager
async def host(tmp_path: Path, **others: str) -> AsyncIterator[Service]:
    (tmp_path / "sleeper_plugin.py").write_text(PLUGIN)
    environment = {
        "FORGEMESH_HOST_LOAD": "sleeper_plugin:Sleeper",
        "FORGEMESH_HOST_PATH": str(tmp_path),
        "FORGEMESH_HOST_INSTANCE_ID": "sleeper-1",
        **others,
    }
    async with start_service(HOST, environment, tmp_path) as service:
        yield service


async def hosts_of(service: Service) -> list[host_pb2.Host]:
    async with connect(service.address) as channel:
        response = await SupervisorServiceStub(channel).ListHosts(pb.ListHostsRequest(), timeout=DEADLINE)
    return list(response.hosts)


async def in_state(service: Service, state: host_pb2.HostState.ValueType, count: int = 1) -> list[host_pb2.Host]:
    async def reached() -> list[host_pb2.Host]:
        hosts = await hosts_of(service)
        return hosts if [host.state for host in hosts] == [state] * count else []

    found: list[host_pb2.Host] = await eventually(reached)
    return found


async def instances(registry: Serving) -> list[instance_pb2.Instance]:
    request = registry_service_pb2.ListInstancesRequest()
    async with connect(registry.address) as channel:
        response = await RegistryServiceStub(channel).ListInstances(request, timeout=DEADLINE)
    return list(response.instances)


async def call(address: str, operation: str, **others: Any) -> Any:
    fields = {name: others.pop(name) for name in ("traceparent", "step_path") if name in others}
    invocation = invocation_pb2.Invocation(operation=operation, **fields)
    invocation.input.data = json.dumps(others).encode()
    async with connect(address) as channel:
        request = plugin_service_pb2.InvokeRequest(invocation=invocation)
        response = await PluginServiceStub(channel).Invoke(request, timeout=DEADLINE)
    return json.loads(response.result.output.data)


async def gone(*pids: int) -> None:
    async def none_left() -> bool:
        return not any(alive(pid) for pid in pids)

    await eventually(none_left)


async def test_every_host_registers_and_serves(tmp_path: Path, registry: Serving) -> None:
    async with supervisor(tmp_path, registry.address, "instances = 3") as service:
        hosts = await in_state(service, host_pb2.HOST_STATE_READY, 3)
        registered = await instances(registry)
        answers = [await call(instance.address, "sleep", seconds=0) for instance in registered]

    assert [host.instance_id for host in hosts] == ["sleeper-1", "sleeper-2", "sleeper-3"]
    assert [instance.instance_id for instance in registered] == ["sleeper-1", "sleeper-2", "sleeper-3"]
    assert {int(instance.labels["pid"]) for instance in registered} == {host.pid for host in hosts}
    assert answers == [0, 0, 0]


async def test_a_killed_host_is_started_again_and_registers_as_a_new_incarnation(
    tmp_path: Path, registry: Serving
) -> None:
    async with supervisor(tmp_path, registry.address) as service:
        (before,) = await in_state(service, host_pb2.HOST_STATE_READY)
        (first,) = await instances(registry)
        kill(before.pid)

        async def again() -> host_pb2.Host | None:
            (host,) = await hosts_of(service)
            return host if host.state == host_pb2.HOST_STATE_READY and host.pid != before.pid else None

        after = await eventually(again)
        (second,) = await instances(registry)

    assert after.restarts == 1
    assert second.incarnation > first.incarnation
    assert int(second.labels["pid"]) == after.pid


async def test_no_host_outlives_a_killed_supervisor(tmp_path: Path, registry: Serving) -> None:
    async with supervisor(tmp_path, registry.address, "instances = 2") as service:
        hosts = await in_state(service, host_pb2.HOST_STATE_READY, 2)
        (idle, busy) = await instances(registry)
        waiting = asyncio.create_task(call(busy.address, "block", seconds=30))
        await asyncio.wait([waiting], timeout=0.2)
        await service.kill()
        await gone(*[host.pid for host in hosts])
        with pytest.raises(grpc.aio.AioRpcError):
            await waiting

    assert idle.instance_id not in [instance.instance_id for instance in await instances(registry)]


async def test_a_stopped_supervisor_ends_its_hosts_in_good_order(tmp_path: Path, registry: Serving) -> None:
    async with supervisor(tmp_path, registry.address, "instances = 2") as service:
        hosts = await in_state(service, host_pb2.HOST_STATE_READY, 2)
        (first, _) = await instances(registry)
        finishing = asyncio.create_task(call(first.address, "sleep", seconds=0.5))
        await asyncio.wait([finishing], timeout=0.1)

        assert await service.stop() == 0
        assert await finishing == 0.5
        assert not any(alive(host.pid) for host in hosts)
        assert await instances(registry) == []


async def test_a_host_that_does_not_end_is_killed_with_all_that_it_started(tmp_path: Path, registry: Serving) -> None:
    short = {"FORGEMESH_SUPERVISOR_GRACE": "0.5"}
    async with supervisor(tmp_path, registry.address, **short) as service:
        (host,) = await in_state(service, host_pb2.HOST_STATE_READY)
        (instance,) = await instances(registry)
        child = await call(instance.address, "child")
        waiting = asyncio.create_task(call(instance.address, "block", seconds=30))
        await asyncio.wait([waiting], timeout=0.2)
        code = await service.stop()
        await gone(host.pid, child)
        with pytest.raises(grpc.aio.AioRpcError):
            await waiting

    assert code == 0


async def test_a_killed_host_leaves_no_children(tmp_path: Path, registry: Serving) -> None:
    async with supervisor(tmp_path, registry.address) as service:
        (host,) = await in_state(service, host_pb2.HOST_STATE_READY)
        (instance,) = await instances(registry)
        child = await call(instance.address, "child")
        kill(host.pid)

        await gone(child)


async def test_a_host_that_cannot_start_says_why_and_is_tried_again(tmp_path: Path, registry: Serving) -> None:
    broken = '[plugins.broken]\nload = "sleeper_plugin:Nobody"'
    async with supervisor(tmp_path, registry.address, broken) as service:

        async def tried() -> host_pb2.Host | None:
            (host, _) = await hosts_of(service)
            return host if host.state == host_pb2.HOST_STATE_BACKOFF and host.restarts > 0 else None

        host = await eventually(tried)

    assert host.instance_id == "broken-1"
    assert host.reason == "cannot load plugin sleeper_plugin:Nobody: module sleeper_plugin has no class Nobody"
    ended = next(step for step in host.history if step.state == host_pb2.HOST_STATE_BACKOFF)
    assert (ended.phase, ended.exit_code) == (host_pb2.HOST_PHASE_HANDSHAKE, 1)
    assert host.pid == 0
    assert host.HasField("next_start_at")


async def test_hosts_wait_for_a_registry_that_is_not_there_yet(tmp_path: Path) -> None:
    async with running_registry(tmp_path) as gone:
        address = gone.address
    async with supervisor(tmp_path, address) as service:
        await in_state(service, host_pb2.HOST_STATE_INITIALIZING)
        again = {
            "FORGEMESH_REGISTRY_LISTEN": address,
            "FORGEMESH_REGISTRY_HEALTH_LISTEN": ANYWHERE,
            "FORGEMESH_REGISTRY_DATABASE": str(tmp_path / "registry.db"),
        }
        async with start_service("forgemesh.registry.main", again, tmp_path):
            await in_state(service, host_pb2.HOST_STATE_READY)


async def test_a_megabyte_without_a_line_end_holds_up_nothing(tmp_path: Path, registry: Serving) -> None:
    async with supervisor(tmp_path, registry.address, 'environment = { NOISE = "1000000" }') as service:
        await in_state(service, host_pb2.HOST_STATE_READY)
        (instance,) = await instances(registry)

        assert await call(instance.address, "sleep", seconds=0) == 0
    written = (tmp_path / "logs" / "sleeper-1.log").read_bytes()
    assert (written.count(b"x" * 1000), written.count(b"y" * 1000)) > (900, 900)


async def test_a_host_knows_nothing_of_its_supervisors_secrets(tmp_path: Path, registry: Serving) -> None:
    secrets = {"AWS_SECRET_ACCESS_KEY": "secret", "HANDED_ON": "value"}
    section = 'inherit = ["HANDED_ON"]\nenvironment = { KEY = "of the section" }'
    async with supervisor(tmp_path, registry.address, section, **secrets) as service:
        await in_state(service, host_pb2.HOST_STATE_READY)
        (instance,) = await instances(registry)
        environment = await call(instance.address, "environment")

    assert "AWS_SECRET_ACCESS_KEY" not in environment
    assert (environment["HANDED_ON"], environment["KEY"]) == ("value", "of the section")


async def test_a_host_alone_serves_without_a_registry(tmp_path: Path) -> None:
    async with host(tmp_path) as service:
        assert service.facts["instance_id"] == "sleeper-1"
        assert service.facts["incarnation"] == 0
        assert await call(service.address, "sleep", seconds=0) == 0
        assert await service.stop() == 0


async def test_a_host_whose_parent_goes_away_ends(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    (tmp_path / "sleeper_plugin.py").write_text(PLUGIN)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "FORGEMESH_HOST_LOAD": "sleeper_plugin:Sleeper",
        "FORGEMESH_HOST_PATH": str(tmp_path),
        "FORGEMESH_PARENT_FD": str(reading),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", HOST, env=environment, pass_fds=(reading,), stderr=subprocess.DEVNULL
    )
    os.close(reading)
    os.close(writing)

    async with asyncio.timeout(DEADLINE):
        assert await process.wait() in (0, 3)


async def test_spans_of_the_author_hang_below_the_span_of_the_call(tmp_path: Path) -> None:
    trace_id, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    async with collecting() as collector, host(tmp_path, FORGEMESH_HOST_TRACES=collector.address) as service:
        await call(service.address, "work", traceparent=f"00-{trace_id}-{parent}-01", step_path="a/b")
        spans: dict[str, Span] = {span.name: span for span in await collector.until(lambda spans: len(spans) == 3)}

    execute, outer, inner = spans["execute test.sleeper/work"], spans["outer"], spans["inner"]
    assert execute.parent_span_id.hex() == parent
    assert outer.parent_span_id == execute.span_id
    assert inner.parent_span_id == outer.span_id
    assert {span.trace_id.hex() for span in spans.values()} == {trace_id}
    assert attributes_of(execute)["forgemesh.step.path"] == "a/b"
    assert attributes_of(collector.resource)["service.name"] == "test.sleeper"


async def test_the_weather_plugins_load(tmp_path: Path) -> None:
    plugins = Path(__file__).parents[2] / "examples" / "weather" / "plugins"
    for load in (
        "weather_reader:WeatherReader",
        "weather_prepare:WeatherPrepare",
        "weather_stats:WeatherStats",
        "weather_report:WeatherReport",
    ):
        others = {"FORGEMESH_HOST_LOAD": load, "FORGEMESH_HOST_PATH": str(plugins)}
        async with host(tmp_path, **others) as service:
            assert await service.stop() == 0


async def test_a_host_without_a_plugin_says_so(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        HOST,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        cwd=tmp_path,
        stderr=subprocess.PIPE,
    )
    async with asyncio.timeout(DEADLINE):
        _, said = await process.communicate()

    assert process.returncode == 2
    assert b"load" in said
    assert b"Traceback" not in said
