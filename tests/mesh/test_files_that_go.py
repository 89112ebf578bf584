"""What belongs to a running mesh is removed, replaced or damaged under its hands; every process real."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from forgemesh.chassis.health_facts import REASON, told_in
from forgemesh.client import Client
from forgemesh.faults import Fault
from tests.mesh.processes import Service, eventually, start_service
from tests.mesh.up_process import Up, Workplace, going_up

pytestmark = pytest.mark.mesh

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    workplace = Workplace(tmp_path)
    yield workplace
    assert workplace.left_behind() == []


def settings_of(name: str, folder: Path, **more: str) -> dict[str, str]:
    """Every port is any port, and the database lies in `folder`."""
    known = {"listen": "127.0.0.1:0", "health_listen": "127.0.0.1:0", "database": str(folder / f"{name}.db")} | more
    return {f"FORGEMESH_{name.upper()}_{key.upper()}": value for key, value in known.items()}


@contextlib.asynccontextmanager
async def service_over(name: str, folder: Path, tmp_path: Path) -> AsyncIterator[Service]:
    """The service with its database in `folder`; a balancer has a registry that keeps its own elsewhere."""
    async with contextlib.AsyncExitStack() as stack:
        more = {}
        if name == "balancer":
            settings = settings_of("registry", tmp_path / "elsewhere")
            registry = await stack.enter_async_context(start_service("forgemesh.registry.main", settings, tmp_path))
            more["registry"] = registry.address
        settings = settings_of(name, folder, **more)
        yield await stack.enter_async_context(start_service(f"forgemesh.{name}.main", settings, tmp_path))


async def health(address: str) -> tuple[int, str]:
    """The status under the name "", and why it is not ready."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        call = stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
        return (await call).status, told_in(await call.initial_metadata()).get(REASON, "")


def remove_folder(folder: Path, name: str) -> None:
    shutil.rmtree(folder)


def move_folder(folder: Path, name: str) -> None:
    folder.rename(folder.with_name("moved"))


def remove_database(folder: Path, name: str) -> None:
    (folder / f"{name}.db").unlink()


def remove_newest_commits(folder: Path, name: str) -> None:
    (folder / f"{name}.db-wal").unlink()


def replace_database(folder: Path, name: str) -> None:
    shutil.copyfile(folder / f"{name}.db", folder / "copy")
    (folder / "copy").rename(folder / f"{name}.db")


def empty_database(folder: Path, name: str) -> None:
    os.truncate(folder / f"{name}.db", 0)


@pytest.mark.parametrize(
    ("name", "act"),
    [
        ("registry", remove_folder),
        ("balancer", move_folder),
        ("traces", remove_database),
        ("orchestrator", remove_newest_commits),
        ("registry", replace_database),
        ("orchestrator", empty_database),
    ],
)
async def test_a_service_whose_database_goes_says_so_in_its_health_and_ends(
    tmp_path: Path, name: str, act: Callable[[Path, str], None]
) -> None:
    """What a database notices, whoever has it, is proven in tests/component/chassis/test_files_that_go.py."""
    async with service_over(name, tmp_path / "data", tmp_path) as service:
        before = await health(service.address)
        act(tmp_path / "data", name)

        async def hindered() -> str:
            status, reason = await health(service.address)
            return reason if status == NOT_SERVING else ""

        reason = await eventually(hindered)
        code = await service.wait()

    assert before == (SERVING, "")
    assert f"{name}.db" in reason
    assert "to be started again" in reason
    assert code == 1
    assert service.log.read_text().splitlines()[-1].startswith("error: the database")


async def test_a_trace_store_that_meets_damage_is_not_ready_and_says_why(tmp_path: Path) -> None:
    async with service_over("traces", tmp_path / "data", tmp_path) as first:
        await first.stop()
    async with service_over("traces", tmp_path / "data", tmp_path) as service:
        with (tmp_path / "data" / "traces.db").open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * 200_000)
        async with grpc.aio.insecure_channel(service.address) as channel:
            ask: Any = channel.unary_unary("/forgemesh.api.traces.v1.TraceService/ListTraces")

            async def hindered() -> str:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await ask(b"", timeout=10)
                status, reason = await health(service.address)
                return reason if status == NOT_SERVING else ""

            reason = await eventually(hindered)

    assert "traces.db is damaged" in reason
    assert "restore a backup" in reason


NO_HOSTS = '[plugins.greeter]\nload = "greeter_plugin:Greeter"\ninstances = 0\n'


@contextlib.asynccontextmanager
async def supervisor_over(folder: Path, tmp_path: Path) -> AsyncIterator[Service]:
    settings = settings_of(
        "supervisor",
        folder,
        plugins=str(tmp_path / "forgemesh.toml"),
        registry="",
        traces="",
        log_directory=str(folder / "logs"),
        owner_key=str(folder / "supervisor.key"),
        state=str(folder / "supervisor.json"),
    )
    settings.pop("FORGEMESH_SUPERVISOR_DATABASE")
    async with start_service("forgemesh.plugin_host.supervisor.main", settings, tmp_path) as service:
        yield service


async def test_a_second_supervisor_on_the_same_state_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "forgemesh.toml").write_text(NO_HOSTS)
    folder = tmp_path / "data"
    async with supervisor_over(folder, tmp_path) as first:
        with pytest.raises(AssertionError, match="it ended before it was ready") as refused:
            async with supervisor_over(folder, tmp_path):
                pass
        serves = await health(first.address)
        code = await first.stop()
    async with supervisor_over(folder, tmp_path) as successor:
        again = await health(successor.address)

    assert f"another supervisor (pid {first.pid}) keeps its processes in {folder / 'supervisor.json'}" in str(
        refused.value
    )
    assert f"kill {first.pid}" in str(refused.value)
    assert (serves, code, again) == ((SERVING, ""), 0, (SERVING, ""))


async def test_a_supervisor_that_was_killed_leaves_its_state_to_the_next(tmp_path: Path) -> None:
    (tmp_path / "forgemesh.toml").write_text(NO_HOSTS)
    async with supervisor_over(tmp_path / "data", tmp_path) as first:
        await first.kill()
    async with supervisor_over(tmp_path / "data", tmp_path) as successor:
        assert await health(successor.address) == (SERVING, "")


@pytest.mark.parametrize("lost", ["", "supervisor.key", "supervisor.lock"])
async def test_a_supervisor_writes_its_state_again_when_that_is_removed(tmp_path: Path, lost: str) -> None:
    (tmp_path / "forgemesh.toml").write_text(NO_HOSTS)
    folder = tmp_path / "data"
    async with supervisor_over(folder, tmp_path) as first:
        key = (folder / "supervisor.key").read_text()
        shutil.rmtree(folder) if not lost else (folder / lost).unlink()

        async def written() -> bool:
            found = {path.name for path in folder.iterdir()} if folder.exists() else set()
            return {"logs", "supervisor.key", "supervisor.lock"} <= found

        await eventually(written)
        kept = (folder / "supervisor.key").read_text()
        with pytest.raises(AssertionError, match=rf"another supervisor \(pid {first.pid}\)"):
            async with supervisor_over(folder, tmp_path):
                pass
        assert await first.stop() == 0

    assert kept == key


async def test_a_lock_that_cannot_be_used_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "forgemesh.toml").write_text(NO_HOSTS)
    lock = tmp_path / "data" / "supervisor.lock"
    lock.mkdir(parents=True)

    with pytest.raises(AssertionError, match=f"error: the lock {lock} cannot be used: Is a directory; delete it"):
        async with supervisor_over(tmp_path / "data", tmp_path):
            pass


def modes(folder: Path) -> dict[str, int]:
    """Of the folder and everything in it."""
    return {
        str(path.relative_to(folder.parent)): stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]
    }


@pytest.mark.parametrize("umask", [0o000, 0o277])
def test_nobody_else_can_read_anything_that_a_mesh_keeps_whatever_was_there_before(
    place: Workplace, umask: int
) -> None:
    (place.data / "logs").mkdir(parents=True)
    (place.data / "registry.db").touch()
    for log in ("registry.log", "greeter-1.log"):
        (place.data / "logs" / log).write_text("from before\n")
    for path in [place.data, *place.data.rglob("*")]:
        path.chmod(0o777)
    before = os.umask(umask)
    try:
        with going_up(place):
            found = modes(place.data)
    finally:
        os.umask(before)

    folders = {name: mode for name, mode in found.items() if (place.folder / name).is_dir()}
    assert set(folders.values()) == {0o700}
    open_to_others = {name: oct(mode) for name, mode in found.items() if mode & 0o077}
    assert open_to_others == {}
    assert {"registry.db", "registry.db-wal", "registry.db-shm", "registry.db.head"} <= {
        Path(one).name for one in found
    }
    assert {"greeter-1.log", "orchestrator.log"} <= {Path(one).name for one in found}


def status(place: Workplace) -> dict[str, dict[str, Any]]:
    """The rows of the services, by name; empty while nobody answers."""
    said = place.forgemesh("status", "-o", "json").stdout
    rows = json.loads(said)["services"] if said.strip() else []
    return {row["service"]: row for row in rows}


async def greeted(mesh: Up, number: int) -> bool:
    """Whether an execution with this id has been acknowledged and has ended well."""
    with contextlib.suppress(Fault, TimeoutError):
        async with asyncio.timeout(20), Client.connect(mesh.address) as client:
            handle = await client.start("hello", {"name": "Ada"}, execution_id=f"n-{number}")
            await handle.result()
            return True
    return False


async def test_a_data_directory_that_is_removed_takes_nothing_with_it_that_is_acknowledged_later(
    place: Workplace,
) -> None:
    with going_up(place) as mesh:
        assert place.forgemesh("workflow", "register", "hello.yaml").returncode == 0
        assert await greeted(mesh, 0)
        place.data.rename(place.folder / "aside")  # what is written meanwhile would keep a folder from being removed
        shutil.rmtree(place.folder / "aside")
        mesh.await_talk("was removed or replaced while the mesh ran")
        acknowledged: list[str] = []
        while len(acknowledged) < 3:
            number = len(acknowledged) + 1
            place.forgemesh("workflow", "register", "hello.yaml")
            if await greeted(mesh, number):
                acknowledged.append(f"n-{number}")
        rows = status(place)
        names = {path.name for path in place.data.iterdir()}
        logs = {path.name for path in (place.data / "logs").iterdir()}
        assert mesh.stop() == 0

    with going_up(place) as mesh:
        listed = json.loads(place.forgemesh("execution", "list", "-o", "json").stdout)
    assert {row["health"] for row in rows.values()} == {"SERVING"}
    assert {"mesh.json", "supervisor.key", "registry.db", "orchestrator.db", "traces.db", "balancer.db"} <= names
    assert {"registry.log", "orchestrator.log", "supervisor.log"} <= logs
    assert {row["execution_id"] for row in listed["executions"]} >= set(acknowledged)


async def test_a_service_that_cannot_go_on_is_explained_by_status_with_the_next_command(place: Workplace) -> None:
    with going_up(place) as mesh:
        assert place.forgemesh("workflow", "register", "hello.yaml").returncode == 0
        (place.data / "orchestrator.db").unlink()
        mesh.await_talk("orchestrator.db is damaged: its newest commit is number 0")
        row = status(place)["orchestrator"]
        (place.data / "orchestrator.db.head").unlink()
        mesh.await_talk("orchestrator runs again")
        after = status(place)["orchestrator"]

    assert row["health"] == "UNREACHABLE"
    assert "remove" in row["reason"]
    assert "orchestrator.db.head" in row["reason"]
    assert (after["health"], after["reason"]) == ("SERVING", "")


async def test_newest_commits_that_are_removed_are_saved_into_the_database(place: Workplace) -> None:
    with going_up(place) as mesh:
        assert place.forgemesh("workflow", "register", "hello.yaml").returncode == 0
        assert await greeted(mesh, 1)
        (place.data / "orchestrator.db-wal").unlink()
        talk = mesh.await_talk("orchestrator runs again")
        listed = json.loads(place.forgemesh("execution", "list", "-o", "json").stdout)
        assert await greeted(mesh, 2)

    assert "orchestrator.db-wal was removed while it was open" in "".join(talk)
    assert [row["execution_id"] for row in listed["executions"]] == ["n-1"]


async def test_logs_that_are_removed_are_made_again(place: Workplace) -> None:
    with going_up(place) as mesh:
        pids = mesh.pids()
        logs = place.data / "logs"
        shutil.rmtree(logs)

        async def made() -> bool:
            return (logs / "registry.log").exists()

        await eventually(made)
        os.kill(pids["greeter-1"], signal.SIGKILL)

        async def written() -> bool:
            return (logs / "greeter-1.log").exists() and "is registered" in (logs / "registry.log").read_text()

        await eventually(written)


def test_a_folder_that_cannot_be_made_anew_ends_the_mesh_with_one_sentence(place: Workplace) -> None:
    with going_up(place) as mesh:
        pids = mesh.pids()
        shutil.rmtree(place.data)
        place.data.write_text("in the way")
        code = mesh.process.wait(180)
        assert mesh.process.stderr is not None
        said = mesh.process.stderr.read().decode()
        place.data.unlink()

    assert code == 1
    assert f"error: the data directory {place.data.name} cannot be used: " in said
    assert "--data-dir" in said
    assert "Errno" not in said
    assert len(pids) > 5
