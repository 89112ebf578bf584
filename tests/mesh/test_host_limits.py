"""What a host process may use, and how it ends when it uses more."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile

import pytest

from forgemesh.chassis.process import EXIT_OUT_OF_MEMORY, EXIT_SETTINGS
from tests.mesh.attached_host import call, host, result_of
from tests.mesh.supervising import Supervising, supervising

pytestmark = pytest.mark.mesh

MEBIBYTE = 1024 * 1024
BOUND = {"FORGEMESH_HOST_MEMORY_BYTES": str(256 * MEBIBYTE)}

PLUGIN = """
import asyncio, mmap, os, resource, time

from forgemesh.plugin import Limits, operation, plugin

if os.environ.get("GREEDY_IMPORT"):
    held = bytes(8 * 1024**3)


@plugin("test.words", version="1.0.0", max_concurrency=16, limits=Limits(open_files=300))
class Words:
    def __init__(self):
        self.held = []

    @operation
    async def leak(self, mebibytes: int) -> int:
        for _ in range(mebibytes):
            self.held.append(bytearray(os.urandom(1024) * 1024))
            await asyncio.sleep(0)
        return len(self.held)

    @operation
    def grab(self, size: int) -> int:
        return len(bytes(size))

    @operation
    async def limits(self) -> list[int]:
        return [resource.getrlimit(one)[0] for one in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE)]

    @operation
    async def creep(self, mebibytes: int) -> int:
        for number in range(mebibytes):
            self.held.append(bytes([number % 251]) * (1 << 20))
            await asyncio.sleep(0.005)
        return len(self.held)

    @operation
    def read_mapped(self, path: str) -> int:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as model:
            return sum(model[place] for place in range(0, len(model), 4096))

    @operation
    def rest(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    @operation
    async def echo(self, text: str) -> str:
        return text
"""


IN_GROUP = """
import os
with open(os.environ["GROUP"], "w") as processes:
    processes.write(str(os.getpid()))
"""


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A control group that holds 256 MiB, into which the processes that this test starts go."""
    name, limit = f"forgemesh-{os.getpid()}-{tmp_path.name}", str(256 * MEBIBYTE)
    group, file = (
        (Path("/sys/fs/cgroup/memory") / name, "memory.limit_in_bytes")
        if Path("/sys/fs/cgroup/memory").exists()
        else (Path("/sys/fs/cgroup") / name, "memory.max")
    )
    try:
        group.mkdir()
        (group / file).write_text(limit)
    except OSError as error:
        pytest.skip(f"no control group with a limit of memory can be made here: {error}")
    (tmp_path / "sitecustomize.py").write_text(IN_GROUP)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("GROUP", str(group / "cgroup.procs"))
    yield group
    group.rmdir()


def killed_by_the_kernel(group: Path) -> int:
    """How many processes of the group the kernel has killed for want of memory."""
    said = next(file for name in ("memory.events", "memory.oom_control") if (file := group / name).exists())
    return next(int(line.split()[1]) for line in said.read_text().splitlines() if line.startswith("oom_kill "))


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervising]:
    async with supervising() as supervisor:
        yield supervisor


async def test_a_host_with_a_memory_bound_serves_with_all_its_threads(tmp_path: Path, supervisor: Supervising) -> None:
    async with host(tmp_path, supervisor.address, PLUGIN, **BOUND):
        await supervisor.initialize()
        address = (await supervisor.heard("ready")).address
        rested = await asyncio.gather(*(call(address, "rest", seconds=0.05) for _ in range(40)))
        echoed = await asyncio.gather(*(call(address, "echo", text="x" * 100_000) for _ in range(20)))
        load = await supervisor.heard("load")

    assert rested == [0.05] * 40
    assert {len(text) for text in echoed} == {100_000}
    assert load.named_metrics["memory_bytes"] < 256 * MEBIBYTE


async def test_a_plugin_that_leaks_ends_with_the_reason(tmp_path: Path, supervisor: Supervising) -> None:
    async with host(tmp_path, supervisor.address, PLUGIN, **BOUND) as process:
        await supervisor.initialize()
        address = (await supervisor.heard("ready")).address
        leaking = asyncio.create_task(call(address, "leak", mebibytes=1024))
        phase, reason = await supervisor.failure()
        code = await process.wait()
        await asyncio.wait([leaking])

    assert leaking.exception() is not None
    assert phase == "SERVING"
    assert reason.startswith("OOM: out of memory: it holds ")
    assert "256 MiB are allowed" in reason
    assert code == EXIT_OUT_OF_MEMORY
    assert f"error: {reason}" in process.output()


async def test_a_call_that_is_refused_memory_is_answered_and_the_host_ends(
    tmp_path: Path, supervisor: Supervising
) -> None:
    async with host(tmp_path, supervisor.address, PLUGIN, **BOUND) as process:
        await supervisor.initialize()
        address = (await supervisor.heard("ready")).address
        result = await result_of(address, "grab", size=8 * 1024 * MEBIBYTE)
        phase, reason = await supervisor.failure()
        code = await process.wait()

    assert result.failure.reason == "PLUGIN_EXCEPTION"
    assert "MemoryError" in result.failure.message
    assert phase == "SERVING"
    assert reason.startswith("OOM: out of memory: test.words/grab was refused more, 256 MiB are allowed")
    assert code == EXIT_OUT_OF_MEMORY


async def test_a_plugin_that_is_refused_memory_while_it_is_imported_says_so(
    tmp_path: Path, supervisor: Supervising
) -> None:
    async with host(tmp_path, supervisor.address, PLUGIN, GREEDY_IMPORT="1", **BOUND) as process:
        phase, reason = await supervisor.failure()
        code = await process.wait()

    assert phase == "HANDSHAKE"
    assert reason.startswith("OOM: cannot load plugin")
    assert code == EXIT_OUT_OF_MEMORY


@pytest.mark.parametrize(("given", "files"), [({}, 300), ({"FORGEMESH_HOST_OPEN_FILES": "200"}, 200)])
async def test_open_files_are_bounded_and_core_files_are_never_written(
    tmp_path: Path, supervisor: Supervising, given: dict[str, str], files: int
) -> None:
    async with host(tmp_path, supervisor.address, PLUGIN, **given):
        await supervisor.initialize()
        address = (await supervisor.heard("ready")).address

        assert await call(address, "limits") == [files, 0]


@pytest.mark.parametrize("name", ["FORGEMESH_HOST_MEMORY_BYTES", "FORGEMESH_HOST_OPEN_FILES"])
@pytest.mark.parametrize("value", ["much", "-1", "1.5"])
async def test_a_bound_that_is_no_number_is_refused_at_the_start(
    tmp_path: Path, supervisor: Supervising, name: str, value: str
) -> None:
    async with host(tmp_path, supervisor.address, PLUGIN, **{name: value}) as process:
        assert await process.wait() == EXIT_SETTINGS
        assert name.removeprefix("FORGEMESH_HOST_").lower() in process.output().lower()


async def test_a_host_in_a_container_says_that_memory_is_out_before_the_kernel_kills_it(
    tmp_path: Path, supervisor: Supervising, container: Path
) -> None:
    async with host(tmp_path, supervisor.address, PLUGIN) as process:
        await supervisor.initialize()
        address = (await supervisor.heard("ready")).address
        greedy = asyncio.create_task(call(address, "creep", mebibytes=1024))
        phase, reason = await supervisor.failure()
        code = await process.wait()
        await asyncio.wait([greedy])

    assert greedy.exception() is not None
    assert phase == "SERVING"
    assert reason.startswith("OOM: out of memory: it holds ")
    assert reason.endswith("its container is killed at 256 MiB; raise the container's limit, or let it hold less")
    assert code == EXIT_OUT_OF_MEMORY
    assert f"error: {reason}" in process.output()
    assert killed_by_the_kernel(container) == 0


async def test_memory_that_the_kernel_can_take_back_does_not_count_in_a_container(
    tmp_path: Path, supervisor: Supervising, container: Path
) -> None:
    with NamedTemporaryFile(dir="/var/tmp") as model:  # of a file in memory the kernel can take nothing back
        model.truncate(512 * MEBIBYTE)
        async with host(tmp_path, supervisor.address, PLUGIN):
            await supervisor.initialize()
            address = (await supervisor.heard("ready")).address

            assert await call(address, "read_mapped", path=model.name) == 0
