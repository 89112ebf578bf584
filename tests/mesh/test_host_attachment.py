"""Hosts as processes that call back to whoever started them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from forgemesh.api.registry.v1 import registry_service_pb2
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from forgemesh.chassis.channel import connect
from forgemesh.faults.supervisor import HostProtocolUnsupported
from tests.mesh.attached_host import call, host, result_of
from tests.mesh.processes import DEADLINE, eventually, start_service
from tests.mesh.supervising import TOKEN, Supervising, supervising

pytestmark = pytest.mark.mesh

HOST = "forgemesh.plugin_host.main"

PLUGIN = """
import asyncio, ctypes, os, time
from pathlib import Path

from forgemesh.plugin import operation, plugin

Path("imported").touch()


@plugin("test.words", version="1.2.0")
class Words:
    def __init__(self):
        Path("made").touch()

    def start(self):
        if os.environ.get("FAIL"):
            raise RuntimeError("no dictionary")

    @operation
    async def upper(self, text: str) -> str:
        return text.upper()

    @operation
    async def block(self, seconds: float) -> None:
        time.sleep(seconds)

    @operation
    async def crash(self) -> None:
        ctypes.string_at(0)

    @operation
    async def secrets(self) -> list[str]:
        return [name for name in os.environ if "TOKEN" in name]

    @operation
    async def prints(self, text: str) -> str:
        print(text, flush=True)
        return text


@plugin("test.broken", version="one")
class Broken:
    pass
"""


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervising]:
    async with supervising() as supervisor:
        yield supervisor


async def test_a_host_introduces_itself_and_makes_the_plugin_only_when_it_is_told_to(
    tmp_path: Path, supervisor: Supervising
) -> None:
    async with host(tmp_path, supervisor.address, PLUGIN) as process:
        hello = await supervisor.heard("hello")
        before = (tmp_path / "imported").exists(), (tmp_path / "made").exists()
        await supervisor.initialize()
        ready = await supervisor.heard("ready")
        answer = await call(ready.address, "upper", text="word")
        load = await supervisor.heard("load")
        process.process.terminate()
        code = await process.wait()

    assert (hello.instance_id, hello.pid) == ("words-1", process.process.pid)
    assert (hello.protocol_min, hello.protocol_max) == (1, 1)
    assert hello.sdk.startswith("forgemesh-python/")
    assert (hello.manifest.plugin_id, hello.manifest.version) == ("test.words", "1.2.0")
    assert before == (True, False)
    assert (tmp_path / "made").exists()
    assert answer == "WORD"
    assert load.named_metrics["in_flight"] == 0
    assert code == 0


async def test_a_host_that_waits_for_its_turn_can_be_stopped(tmp_path: Path, supervisor: Supervising) -> None:
    async with host(tmp_path, supervisor.address, PLUGIN) as process:
        await supervisor.heard("hello")
        process.process.terminate()

        assert await process.wait() == 0
        assert not (tmp_path / "made").exists()


async def test_the_plugin_does_not_see_the_secrets_of_its_host(tmp_path: Path, supervisor: Supervising) -> None:
    async with host(tmp_path, supervisor.address, PLUGIN, FORGEMESH_HOST_OWNER_TOKEN="ours"):
        await supervisor.initialize()
        ready = await supervisor.heard("ready")

        assert await call(ready.address, "secrets") == []


async def test_ready_is_said_once_the_host_is_registered(tmp_path: Path, supervisor: Supervising) -> None:
    environment = {
        "FORGEMESH_REGISTRY_LISTEN": "127.0.0.1:0",
        "FORGEMESH_REGISTRY_HEALTH_LISTEN": "127.0.0.1:0",
        "FORGEMESH_REGISTRY_DATABASE": str(tmp_path / "registry.db"),
    }
    async with (
        start_service("forgemesh.registry.main", environment, tmp_path) as registry,
        host(tmp_path, supervisor.address, PLUGIN, FORGEMESH_HOST_REGISTRY=registry.address),
    ):
        await supervisor.initialize()
        ready = await supervisor.heard("ready")
        async with connect(registry.address) as channel:
            listed = await RegistryServiceStub(channel).ListInstances(
                registry_service_pb2.ListInstancesRequest(), timeout=DEADLINE
            )
        changed = PLUGIN.replace("self, text: str) -> str:", "self, text: str, loud: bool = True) -> str:", 1)
        async with host(
            tmp_path,
            supervisor.address,
            changed,
            FORGEMESH_HOST_INSTANCE_ID="words-2",
            FORGEMESH_HOST_REGISTRY=registry.address,
        ) as other:
            await supervisor.heard("hello", lambda hello: hello.instance_id == "words-2")
            await supervisor.initialize()
            phase, reason = await supervisor.failure()
            code = await other.wait()

    assert [instance.incarnation for instance in listed.instances] == [ready.incarnation]
    assert (phase, code) == ("HEALTH", 1)
    assert "cannot register words-2" in reason
    assert "raise its version" in reason


@pytest.mark.parametrize(
    ("source", "load", "said"),
    [
        ("import nothing_of_that_name", "words_plugin:Words", "No module named 'nothing_of_that_name'"),
        ("import sys; sys.exit(5)", "words_plugin:Words", "SystemExit: 5"),
        ("def Words(: pass", "words_plugin:Words", "SyntaxError"),
        (PLUGIN, "words_plugin:Nobody", "module words_plugin has no class Nobody"),
        (PLUGIN, "words_plugin:Broken", "version 'one' is not SemVer"),
    ],
)
async def test_a_plugin_that_cannot_be_imported_fails_in_the_handshake(
    tmp_path: Path, supervisor: Supervising, source: str, load: str, said: str
) -> None:
    async with host(tmp_path, supervisor.address, source, FORGEMESH_HOST_LOAD=load) as process:
        phase, reason = await supervisor.failure()
        code = await process.wait()

    assert phase == "HANDSHAKE"
    assert said in reason
    assert code == 1
    assert "error: cannot load plugin" in process.output()


async def test_a_plugin_whose_start_raises_fails_in_init(tmp_path: Path, supervisor: Supervising) -> None:
    async with host(tmp_path, supervisor.address, PLUGIN, FAIL="1") as process:
        await supervisor.initialize()
        failure = await supervisor.failure()
        code = await process.wait()

    assert failure == ("INIT", "cannot load plugin test.words: it does not start: RuntimeError: no dictionary")
    assert code == 1


async def test_a_plugin_that_does_not_start_in_time_fails_in_init(tmp_path: Path, supervisor: Supervising) -> None:
    slow = "import asyncio\n" + PLUGIN.replace(
        "    def start(self):", "    async def start(self):\n        await asyncio.sleep(60)"
    )
    async with host(tmp_path, supervisor.address, slow, FORGEMESH_HOST_START_TIMEOUT="0.2"):
        await supervisor.initialize()

        assert await supervisor.failure() == (
            "INIT",
            "cannot load plugin test.words: it has not started within 0.2 s",
        )


async def test_a_host_can_be_stopped_while_its_plugin_starts(tmp_path: Path, supervisor: Supervising) -> None:
    starts = "async def start(self):\n        Path('starts').touch()\n        await asyncio.sleep(600)"
    endless = PLUGIN.replace("def start(self):", starts)
    async with host(tmp_path, supervisor.address, endless) as process:
        await supervisor.initialize()

        async def starting() -> bool:
            return (tmp_path / "starts").exists()

        await eventually(starting)
        process.process.terminate()

        assert await process.wait() == 0
    assert not any(said.HasField("failed") for said in supervisor.said)


async def test_a_host_whose_registry_does_not_answer_in_time_fails_in_health(
    tmp_path: Path, supervisor: Supervising
) -> None:
    nowhere = {"FORGEMESH_HOST_REGISTRY": "127.0.0.1:1", "FORGEMESH_HOST_START_TIMEOUT": "0.5"}
    async with host(tmp_path, supervisor.address, PLUGIN, **nowhere):
        await supervisor.initialize()
        phase, reason = await supervisor.failure()

    assert phase == "HEALTH"
    assert "cannot register words-1" in reason


async def test_a_configuration_that_nobody_takes_fails_in_config(tmp_path: Path, supervisor: Supervising) -> None:
    async with host(tmp_path, supervisor.address, PLUGIN):
        await supervisor.initialize(config={"size": 3})

        assert await supervisor.failure() == (
            "CONFIG",
            "cannot configure plugin test.words: the plugin takes no configuration",
        )


async def test_a_supervisor_that_speaks_another_protocol_is_told_so(tmp_path: Path, supervisor: Supervising) -> None:
    supervisor.protocol = 7
    async with host(tmp_path, supervisor.address, PLUGIN) as process:
        phase, reason = await supervisor.failure()
        code = await process.wait()

    assert phase == "VERSION"
    assert "protocols 7..7" in reason
    assert "1..1" in reason
    assert code == 1


@pytest.mark.parametrize(
    ("refusal", "token"), [(HostProtocolUnsupported("words-1", (3, 4), (1, 1)), TOKEN), (None, "stolen")]
)
async def test_a_host_that_is_refused_ends_and_says_why(
    tmp_path: Path, supervisor: Supervising, refusal: HostProtocolUnsupported | None, token: str
) -> None:
    supervisor.refusal = refusal
    async with host(tmp_path, supervisor.address, PLUGIN, FORGEMESH_HOST_TOKEN=token) as process:
        assert await process.wait() == 1

    said = "speaks protocols 3..4" if refusal else "its secret is not the one"
    assert f"error: the supervisor at {supervisor.address} does not take this host" in process.output()
    assert said in process.output()


async def test_a_blocked_loop_is_said_while_it_lasts_and_its_end_too(tmp_path: Path, supervisor: Supervising) -> None:
    async with host(tmp_path, supervisor.address, PLUGIN) as process:
        await supervisor.initialize()
        ready = await supervisor.heard("ready")
        async with connect(ready.health_address, keepalive=False) as channel:
            watch = HealthStub(channel).Watch(HealthCheckRequest(service="readiness"))
            statuses = [await next_status(watch)]
            blocking = asyncio.create_task(call(ready.address, "block", seconds=4))
            statuses.append(await next_status(watch))
            condition = await supervisor.heard("condition", lambda condition: condition.degraded)
            still_blocked = not blocking.done()
            await supervisor.heard("condition", lambda condition: not condition.degraded)
            statuses.append(await next_status(watch))
            watch.cancel()
        await blocking

    assert still_blocked
    assert statuses == [HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING, HealthCheckResponse.SERVING]
    assert condition.reason.startswith("the event loop has not turned for 1.")
    assert re.search(r"it stands at words_plugin\.py:\d+ in block$", condition.reason)
    assert len(re.findall(r'words_plugin\.py", line \d+ in block', process.output())) == 1


async def test_a_crash_below_python_leaves_its_place_in_the_log(tmp_path: Path, supervisor: Supervising) -> None:
    async with host(tmp_path, supervisor.address, PLUGIN) as process:
        await supervisor.initialize()
        ready = await supervisor.heard("ready")
        with pytest.raises(grpc.aio.AioRpcError):
            await call(ready.address, "crash")

        assert await process.wait() == -signal.SIGSEGV
    assert "Segmentation fault" in process.output()
    assert re.search(r'words_plugin\.py", line \d+ in crash', process.output())


async def next_status(watch: Any) -> int:
    async with asyncio.timeout(DEADLINE):
        return int((await watch.read()).status)


async def test_a_host_that_may_outlives_its_supervisor_and_finds_the_next_one(tmp_path: Path) -> None:
    whereabouts = tmp_path / "supervisor.address"
    reattach = {
        "FORGEMESH_HOST_REATTACH": "1",
        "FORGEMESH_HOST_REATTACH_SECONDS": "60",
        "FORGEMESH_HOST_SUPERVISOR_FILE": str(whereabouts),
    }
    async with contextlib.AsyncExitStack() as stack:
        async with supervising() as first:
            process = await stack.enter_async_context(host(tmp_path, first.address, PLUGIN, **reattach))
            await first.initialize()
            ready = await first.heard("ready")
        between = await call(ready.address, "upper", text="alone")
        async with supervising() as second:
            whereabouts.write_text(second.address)
            hello = await second.heard("hello")
            load = await second.heard("load")
            answer = await call(ready.address, "upper", text="still here")

    assert hello.pid == process.process.pid
    assert hello.ready == ready
    assert hello.manifest.plugin_id == "test.words"
    assert load.named_metrics["queued"] == 0
    assert (between, answer) == ("ALONE", "STILL HERE")


async def test_a_host_that_finds_no_other_supervisor_ends(tmp_path: Path) -> None:
    reattach = {"FORGEMESH_HOST_REATTACH": "1", "FORGEMESH_HOST_REATTACH_SECONDS": "0.5"}
    async with contextlib.AsyncExitStack() as stack:
        async with supervising() as supervisor:
            process = await stack.enter_async_context(host(tmp_path, supervisor.address, PLUGIN, **reattach))
            await supervisor.initialize()
            await supervisor.heard("ready")

        assert await process.wait() in (0, 3)


async def test_a_host_that_outlives_its_supervisor_may_still_print(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    reattach = {"FORGEMESH_HOST_REATTACH": "1", "FORGEMESH_HOST_REATTACH_SECONDS": "60"}
    async with contextlib.AsyncExitStack() as stack:
        async with supervising() as supervisor:
            process = await stack.enter_async_context(
                host(tmp_path, supervisor.address, PLUGIN, output=writing, **reattach)
            )
            os.close(writing)
            await supervisor.initialize()
            ready = await supervisor.heard("ready")
            os.close(reading)

        async def printed() -> bool:  # the moment until the host notices that nobody reads is its own
            return (await result_of(ready.address, "prints", text="to nobody")).HasField("output")

        assert await eventually(printed)
        assert process.process.returncode is None
