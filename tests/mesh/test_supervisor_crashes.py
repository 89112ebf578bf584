"""Hosts that fail: at import, in the handshake, at their start, later; and what everybody is told about it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from forgemesh.api.supervisor.v1 import attach_pb2, host_pb2, supervisor_service_pb2 as pb
from forgemesh.chassis.server import Serving
from forgemesh.chassis.status import from_rpc_error
from forgemesh.faults.supervisor import HandshakeRefused, HostNotFound, HostProtocolUnsupported
from tests.mesh.processes import alive, eventually, kill
from tests.mesh.supervised import plugin_source, running_registry, section, state_of, supervised

pytestmark = pytest.mark.mesh

BUDGET = "crash_budget = { crashes = 2 }"


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Serving]:
    async with running_registry(tmp_path) as serving:
        yield serving


def write(directory: Path, name: str, *keys: str, head: str = "", body: str = "") -> str:
    (directory / f"{name}.py").write_text(plugin_source(f"test.{name}", head=head, body=body))
    return section(name, directory, *keys)


def phases(host: host_pb2.Host) -> set[str]:
    return {host_pb2.HostPhase.Name(step.phase).removeprefix("HOST_PHASE_") for step in host.history if step.phase}


@pytest.mark.parametrize(
    ("timeout", "head", "body", "phase", "reason"),
    [
        ("", "import nothing_of_that_name", "", "HANDSHAKE", "No module named 'nothing_of_that_name'"),
        ("", "import os; os._exit(9)", "", "HANDSHAKE", "exit code 9"),
        ("1s", "time.sleep(600)", "", "HANDSHAKE", "it did not call back within 1 s"),
        ("", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "", "HANDSHAKE", "killed by signal 11"),
        ("", "", "def start(self):\n    raise RuntimeError('no dictionary')", "INIT", "RuntimeError: no dictionary"),
        ("9s", "", "async def start(self):\n    await asyncio.sleep(600)", "HEALTH", "it did not serve within 9 s"),
    ],
)
async def test_a_plugin_that_does_not_come_up_says_where_and_why_and_harms_nobody(
    tmp_path: Path, registry: Serving, timeout: str, head: str, body: str, phase: str, reason: str
) -> None:
    """The last one's timeout leaves a slow machine the time to come as far as that phase."""
    keys = [BUDGET, *([f'start_timeout = "{timeout}"'] if timeout else [])]
    broken = write(tmp_path, "broken", *keys, head=head, body=body)
    async with supervised(tmp_path, registry.address, broken + write(tmp_path, "good")) as mesh:
        hosts = await mesh.in_state(good_1="READY", broken_1="CRASH_LOOP")
        good = await mesh.call("good-1", "ping")

    assert good == "1.0.0"
    assert hosts["broken-1"].reason.startswith("2 crashes, the last one: ")
    assert reason in hosts["broken-1"].reason
    assert phases(hosts["broken-1"]) == {phase}
    assert hosts["broken-1"].pid == 0
    assert hosts["good-1"].restarts == 0


async def test_a_plugin_is_found_in_a_folder_whose_name_holds_what_separates_folders(
    tmp_path: Path, registry: Serving
) -> None:
    folder = tmp_path / "at:noon"
    folder.mkdir()
    async with supervised(tmp_path, registry.address, write(folder, "timed", BUDGET, 'path = "at:noon"')) as mesh:
        await mesh.in_state(timed_1="READY")
        answer = await mesh.call("timed-1", "ping")

    assert answer == "1.0.0"


async def test_a_program_that_is_not_there_fails_in_spawn(tmp_path: Path, registry: Serving) -> None:
    configuration = f'[plugins.broken]\ncommand = ["./nowhere"]\n{BUDGET}\n'
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        host = (await mesh.in_state(broken_1="CRASH_LOOP"))["broken-1"]

    nowhere = tmp_path / "nowhere"
    assert host.reason == f"2 crashes, the last one: it cannot be started: {nowhere}: No such file or directory"
    assert phases(host) == {"SPAWN"}


async def test_a_program_that_never_calls_back_is_killed_with_all_that_it_started(
    tmp_path: Path, registry: Serving
) -> None:
    child = tmp_path / "child"
    configuration = (
        f'[plugins.mute]\ncommand = ["sh", "-c", "sleep 600 & echo $! >{child}; wait"]\nstart_timeout = 0.5\n{BUDGET}\n'
    )
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        host = (await mesh.in_state(mute_1="CRASH_LOOP"))["mute-1"]

        assert not alive(int(child.read_text()))
    assert "it did not call back within 0.5 s" in host.reason


async def test_a_plugin_that_is_not_to_be_restarted_stays_down(tmp_path: Path, registry: Serving) -> None:
    configuration = write(tmp_path, "once", 'restart = "never"')
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        kill((await mesh.in_state(once_1="READY"))["once-1"].pid)
        host = (await mesh.in_state(once_1="STOPPED"))["once-1"]

    assert host.reason.startswith("killed by signal 9; last words: ")
    assert not host.HasField("next_start_at")


async def test_nobody_calls_back_in_the_name_of_a_host(tmp_path: Path, registry: Serving) -> None:
    def hello(**fields: object) -> attach_pb2.AttachRequest:
        said = {"instance_id": "good-1", "token": "stolen", "pid": os.getpid(), "protocol_min": 1, "protocol_max": 1}
        return attach_pb2.AttachRequest(hello=attach_pb2.AttachHello(**{**said, **fields}))  # type: ignore[arg-type]

    async with supervised(tmp_path, registry.address, write(tmp_path, "good")) as mesh:
        before = (await mesh.in_state(good_1="READY"))["good-1"]

        async def refused(request: attach_pb2.AttachRequest) -> Exception:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                async for _ in mesh.stub.Attach(iter([request]), timeout=10):
                    pass
            return from_rpc_error(raised.value)

        wrong_token = await refused(hello())
        wrong_name = await refused(hello(instance_id="other-1"))
        announced = await mesh.fails(
            "Announce", pb.AnnounceRequest(instance_id="good-1", token="guessed", address="127.0.0.1:1")
        )
        nobody = await mesh.fails("ResetHost", pb.ResetHostRequest(instance_id="other-1"))
        after = (await mesh.hosts())["good-1"]

    assert isinstance(wrong_token, HandshakeRefused)
    assert "its secret is not the one that this process was started with" in str(wrong_token)
    assert isinstance(wrong_name, HandshakeRefused)
    assert isinstance(announced, HandshakeRefused)
    assert isinstance(nobody, HostNotFound)
    assert (state_of(after), after.pid) == ("READY", before.pid)


NEWER = """
import os, grpc
from forgemesh.api.supervisor.v1 import attach_pb2 as pb
from forgemesh.api.supervisor.v1.supervisor_service_pb2_grpc import SupervisorServiceStub

hello = pb.AttachHello(token=os.environ["FORGEMESH_HOST_TOKEN"], instance_id=os.environ["FORGEMESH_HOST_INSTANCE_ID"],
                       pid=os.getpid(), protocol_min=7, protocol_max=9)
with grpc.insecure_channel(os.environ["FORGEMESH_HOST_SUPERVISOR"]) as channel:
    for answer in SupervisorServiceStub(channel).Attach(iter([pb.AttachRequest(hello=hello)])):
        print(answer)
"""


async def test_a_host_of_another_protocol_is_told_both_ranges(tmp_path: Path, registry: Serving) -> None:
    (tmp_path / "newer.py").write_text(NEWER)
    configuration = f'[plugins.newer]\ncommand = ["{sys.executable}", "{tmp_path / "newer.py"}"]\n{BUDGET}\n'
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        host = (await mesh.in_state(newer_1="CRASH_LOOP"))["newer-1"]

    fault = HostProtocolUnsupported("newer-1", (1, 1), (7, 9))
    assert fault.message in host.reason
    assert phases(host) == {"VERSION"}


async def test_a_megabyte_without_a_line_end_is_cut_and_holds_up_nothing(tmp_path: Path, registry: Serving) -> None:
    noise = 'print("x" * 1_000_000, end="", flush=True)'
    configuration = write(
        tmp_path,
        "loud",
        head=noise,
        body="""
        @operation
        async def shout(self) -> str:
            print("y" * 1_000_000, end="", flush=True)
            return "done"
        """,
    )
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        await mesh.in_state(loud_1="READY")
        answer = await mesh.call("loud-1", "shout")

        async def shouted() -> bool:
            return (tmp_path / "logs" / "loud-1.log").read_bytes().count(b"y") > 900_000

        await eventually(shouted)

    assert answer == "done"
    lines = (tmp_path / "logs" / "loud-1.log").read_bytes().split(b"\n")
    assert max(map(len, lines)) <= 16 * 1024 + 3
    assert sum(line.endswith("…".encode()) for line in lines) > 100


async def test_a_host_that_is_stopped_is_ended_and_started_again(tmp_path: Path, registry: Serving) -> None:
    patience = {"FORGEMESH_SUPERVISOR_SILENCE": "5"}
    async with supervised(tmp_path, registry.address, write(tmp_path, "frozen"), **patience) as mesh:
        before = (await mesh.in_state(frozen_1="READY"))["frozen-1"]
        os.kill(before.pid, signal.SIGSTOP)
        hosts = await mesh.until(lambda hosts: hosts["frozen-1"].restarts == 1)
        after = (await mesh.in_state(frozen_1="READY"))["frozen-1"]

    ended = next(step for step in hosts["frozen-1"].history if step.phase)
    assert ended.reason == "it has said nothing for 5 s"
    assert after.pid != before.pid
    assert not alive(before.pid)


async def test_a_host_whose_loop_is_blocked_is_degraded_for_that_long(tmp_path: Path, registry: Serving) -> None:
    body = """
    @operation
    async def block(self) -> None:
        time.sleep(4)
    """
    async with supervised(tmp_path, registry.address, write(tmp_path, "stuck", body=body)) as mesh:
        await mesh.in_state(stuck_1="READY")
        blocking = asyncio.create_task(mesh.call("stuck-1", "block"))
        blocked = (await mesh.in_state(stuck_1="DEGRADED"))["stuck-1"]
        still = not blocking.done()
        await blocking
        moving = (await mesh.in_state(stuck_1="READY"))["stuck-1"]

    assert still
    assert "the event loop has not turned for" in blocked.reason
    assert moving.restarts == 0


async def test_a_plugin_may_have_a_python_of_its_own(tmp_path: Path, registry: Serving) -> None:
    environment = tmp_path / "env"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    (environment / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
    body = """
    @operation
    async def prefix(self) -> str:
        import sys
        return sys.prefix
    """
    configuration = write(tmp_path, "own", 'python = "env"', body=body) + write(tmp_path, "ours", body=body)
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        await mesh.in_state(own_1="READY", ours_1="READY")
        prefixes = [await mesh.call(name, "prefix") for name in ("own-1", "ours-1")]

    assert prefixes == [str(environment), sys.prefix]


async def test_a_leak_ends_its_own_process_alone_and_is_named(tmp_path: Path, registry: Serving) -> None:
    configuration = write(
        tmp_path,
        "leaky",
        'limits = { memory = "256MiB" }',
        BUDGET,
        body="""
        @operation
        async def leak(self, number: int) -> int:
            kept = []
            while len(kept) < 1024:
                kept.append(b"x" * (1 << 20))
                await asyncio.sleep(0)
            return len(kept)
        """,
    )
    async with supervised(tmp_path, registry.address, configuration + write(tmp_path, "good")) as mesh:
        for number in range(2):
            await mesh.in_state(leaky_1="READY", good_1="READY")
            with pytest.raises((grpc.aio.AioRpcError, AssertionError)):
                await mesh.call("leaky-1", "leak", number=number)
            await mesh.until(lambda hosts: state_of(hosts["leaky-1"]) != "READY")
        hosts = await mesh.in_state(leaky_1="CRASH_LOOP", good_1="READY")

    assert "OOM, exit code 77, used up to" in hosts["leaky-1"].reason
    assert "of 256 MiB" in hosts["leaky-1"].reason
    assert 100 << 20 < hosts["leaky-1"].memory_peak_bytes < 1 << 30
    assert hosts["good-1"].restarts == 0
