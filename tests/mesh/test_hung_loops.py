"""A hung event loop is learned of: by `forgemesh up`, which starts another process, and by probes of liveness."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from forgemesh.chassis.health import LIVENESS, READINESS
from forgemesh.chassis.stop_signals import EXIT_STUCK
from tests.mesh.attached_host import call, host
from tests.mesh.processes import DEADLINE, Service, eventually, start_service
from tests.mesh.supervising import supervising
from tests.mesh.up_process import Up, Workplace, going_up

pytestmark = pytest.mark.mesh

PLANTS = """
import re, signal, time
signal.signal(signal.SIGUSR1, lambda *_: re.match("(a+)+$", "a" * 64 + "b"))
signal.signal(signal.SIGHUP, lambda *_: time.sleep(86_400))
"""
IN_C = signal.SIGUSR1
"""The loop hangs in C and keeps the interpreter's lock: no thread of the process runs any more."""
IN_PYTHON = signal.SIGHUP
"""The loop hangs, and the threads run."""
LIMIT = 5.0
PLUGIN = """
import time
from forgemesh.plugin import operation, plugin

@plugin("test.words", version="1.0.0")
class Words:
    @operation
    async def hang(self) -> None:
        print("it hangs", flush=True)
        time.sleep(86_400)
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    (tmp_path / "plants").mkdir()
    (tmp_path / "plants" / "sitecustomize.py").write_text(PLANTS)
    workplace = Workplace(tmp_path)
    workplace.environment["PYTHONPATH"] = str(tmp_path / "plants")
    yield workplace
    assert workplace.left_behind() == []


def restarted(mesh: Up, service: str, how: signal.Signals) -> list[str]:
    """Hang the service; what `up` says until another one runs."""
    before = mesh.facts()["services"][service]
    os.kill(before["pid"], how)
    lines = mesh.await_talk(f"{service} runs again", deadline=DEADLINE)
    after = mesh.facts()["services"][service]
    assert after["pid"] != before["pid"]
    assert after["address"] == before["address"]
    return lines


def test_up_starts_a_service_again_whose_loop_hangs_wherever_that_is(place: Workplace) -> None:
    with going_up(place, "--stall-limit", f"{LIMIT:g}") as mesh:
        in_c = "".join(restarted(mesh, "registry", IN_C))
        in_python = "".join(restarted(mesh, "balancer", IN_PYTHON))
        stopped = "".join(restarted(mesh, "orchestrator", signal.SIGSTOP))

        assert "the event loop of registry (pid " in in_c
        assert (
            "has not turned for 5 s: it hangs; it is killed; where it stood is in .forgemesh/logs/registry.log" in in_c
        )
        assert "registry (pid " in in_c.partition("\n")[2]
        assert "was killed by SIGKILL; starting it again" in in_c
        assert "has not turned for 5 s: it hangs" in in_python
        assert "has not turned for 5 s: its process is stopped" in stopped
        for service, place_in_code in (("registry", "sitecustomize.py"), ("balancer", "sitecustomize.py")):
            log = (place.data / "logs" / f"{service}.log").read_text()
            assert place_in_code in log, "where each thread stood"
            assert '"service": "forgemesh-up"' in log
        assert place.forgemesh("run", "hello.yaml", "-i", "name=Ada").stdout == '{"text":"Hello, Ada!"}\n'


def test_up_leaves_alone_what_turns_and_what_stood_no_longer_than_itself(place: Workplace) -> None:
    with going_up(place, "--stall-limit", "2") as mesh:
        pids = mesh.pids()
        services = [pid for name, pid in pids.items() if name not in ("up", "greeter-1")]
        for pid in (mesh.process.pid, *services):
            os.kill(pid, signal.SIGSTOP)
        until = time.monotonic() + 4
        while time.monotonic() < until:  # a machine that sleeps: nothing runs, and time goes by
            os.sched_yield()
        for pid in (*services, mesh.process.pid):
            os.kill(pid, signal.SIGCONT)

        assert place.forgemesh("run", "hello.yaml", "-i", "name=Ada").returncode == 0
        assert mesh.pids() == pids


@pytest.mark.parametrize("limit", ["1", "-3", "nan"])
def test_a_limit_that_would_kill_what_is_merely_busy_is_refused(place: Workplace, limit: str) -> None:
    refused = place.forgemesh("up", "--any-port", f"--stall-limit={limit}")

    assert refused.returncode == 2
    assert "is too short; say at least 2 seconds, or 0 for never" in refused.stderr
    assert not place.data.exists()


async def asked(address: str, name: str) -> str:
    """What a probe with a deadline of one second gets."""
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            answer = await HealthStub(channel).Check(HealthCheckRequest(service=name), timeout=1.0)
        except grpc.aio.AioRpcError as error:
            return error.code().name
    return str(HealthCheckResponse.ServingStatus.Name(answer.status))


async def probes(registry: Service) -> dict[tuple[str, str], str]:
    ports = {"main": registry.address, "health": str(registry.facts["health_address"])}
    wanted = [(port, name) for port in ports for name in (LIVENESS, READINESS)]
    answers = await asyncio.gather(*(asked(ports[port], name) for port, name in wanted))
    return dict(zip(wanted, answers, strict=True))


@pytest.mark.parametrize(
    ("how", "on_the_health_port"), [(IN_PYTHON, "NOT_SERVING"), (IN_C, "DEADLINE_EXCEEDED")], ids=["python", "c"]
)
async def test_liveness_fails_when_the_loop_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals, on_the_health_port: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(PLANTS)
    monkeypatch.syspath_prepend(tmp_path)
    settings = {
        "FORGEMESH_REGISTRY_LISTEN": "127.0.0.1:0",
        "FORGEMESH_REGISTRY_HEALTH_LISTEN": "127.0.0.1:0",
        "FORGEMESH_REGISTRY_DATABASE": str(tmp_path / "registry.db"),
    }
    async with start_service("forgemesh.registry.main", settings, tmp_path) as registry:
        before = await probes(registry)
        registry.process.send_signal(how)

        async def failed() -> bool:
            answers = await probes(registry)
            main = {answer for (port, _), answer in answers.items() if port == "main"}
            health = {answer for (port, _), answer in answers.items() if port == "health"}
            return (main, health) == ({"DEADLINE_EXCEEDED"}, {on_the_health_port})

        assert set(before.values()) == {"SERVING"}
        await eventually(failed)


async def test_a_service_whose_loop_hangs_ends_when_it_is_told_to_and_says_where_it_stood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(PLANTS)
    monkeypatch.syspath_prepend(tmp_path)
    settings = {
        "FORGEMESH_REGISTRY_LISTEN": "127.0.0.1:0",
        "FORGEMESH_REGISTRY_HEALTH_LISTEN": "127.0.0.1:0",
        "FORGEMESH_REGISTRY_DATABASE": str(tmp_path / "registry.db"),
    }
    async with start_service("forgemesh.registry.main", settings, tmp_path) as registry:
        registry.process.send_signal(IN_PYTHON)

        async def hangs() -> bool:
            return await asked(registry.address, LIVENESS) == "DEADLINE_EXCEEDED"

        await eventually(hangs)
        code = await registry.stop()

    assert code == EXIT_STUCK
    assert "SIGTERM came, and the event loop has not taken it for 2 s: it stands at sitecustomize.py:4 in <lambda>" in (
        registry.log.read_text()
    )


@pytest.mark.parametrize("where", ["import", "call"])
async def test_a_plugin_host_whose_loop_hangs_in_the_authors_code_ends_when_it_is_told_to(
    tmp_path: Path, where: str
) -> None:
    plugin = PLUGIN + ("\nprint('it hangs', flush=True)\ntime.sleep(86_400)\n" if where == "import" else "")
    async with supervising() as supervisor, host(tmp_path, supervisor.address, plugin) as process:
        call_it = None
        if where == "call":
            await supervisor.initialize()
            call_it = asyncio.create_task(call((await supervisor.heard("ready")).address, "hang"))

        async def hangs() -> bool:
            return "it hangs" in process.output()

        await eventually(hangs)
        process.process.terminate()
        code = await process.wait()
        if call_it is not None:
            await asyncio.wait([call_it])

    assert code == EXIT_STUCK
    assert "it stands at words_plugin.py:" in process.output()
