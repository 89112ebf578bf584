"""Real processes of the mesh, for tests: started, waited for, ended; no wait without a deadline."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START_DEADLINE = 180.0
STOP_DEADLINE = 180.0
DEADLINE = 180.0
SHORTEST_PAUSE, LONGEST_PAUSE = 0.02, 0.1


@dataclass
class Service:
    """A running process and where its output goes."""

    process: asyncio.subprocess.Process
    log: Path
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Where it listens."""
        return str(self.facts["address"])

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    async def wait(self) -> int:
        """Its exit code, negative for a signal."""
        async with asyncio.timeout(STOP_DEADLINE):
            return await self.process.wait()

    async def stop(self) -> int:
        """End it in good order."""
        self.process.terminate()
        return await self.wait()

    async def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        await self.wait()


@contextlib.asynccontextmanager
async def start_service(
    module: str, environment: Mapping[str, str], tmp_path: Path, *, under: Sequence[str] = ()
) -> AsyncIterator[Service]:
    """
    `python -m <module>` in `tmp_path`, ready when this yields; killed at the end, if it still runs then.

    `environment` comes over that of the test. Its output goes to a file in `tmp_path`. `under` is a command that starts
    it, as `nice` does.
    """
    log = tmp_path / f"{module}-{os.urandom(3).hex()}.log"
    ready_reading, ready_writing = os.pipe()
    parent_reading, parent_writing = os.pipe()
    with contextlib.ExitStack() as pipes, log.open("wb") as output:
        pipes.callback(os.close, parent_writing)
        try:
            process = await asyncio.create_subprocess_exec(
                *under,
                sys.executable,
                "-m",
                module,
                cwd=tmp_path,
                env={
                    **os.environ,
                    **environment,
                    "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                    "FORGEMESH_READY_FD": str(ready_writing),
                    "FORGEMESH_PARENT_FD": str(parent_reading),
                },
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(ready_writing, parent_reading),
            )
        finally:
            os.close(ready_writing)
            os.close(parent_reading)
        service = Service(process, log)
        try:
            service.facts = await _facts(ready_reading, log)
            yield service
        finally:
            if process.returncode is None:
                process.kill()
            await service.wait()


async def _facts(pipe: int, log: Path) -> dict[str, Any]:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb", buffering=0)
    )
    try:
        async with asyncio.timeout(START_DEADLINE):
            line = await reader.readline()
    finally:
        transport.close()
    assert line, f"it ended before it was ready:\n{log.read_text(errors='replace')}"
    return dict(json.loads(line))


async def eventually(
    condition: Callable[[], Awaitable[Any]], *, deadline: float = DEADLINE, longest_pause: float = LONGEST_PAUSE
) -> Any:
    """What `condition` returns, as soon as that is true: asked the less often the longer it takes, for to ask costs."""
    pause = SHORTEST_PAUSE
    async with asyncio.timeout(deadline):
        while not (found := await condition()):
            await asyncio.sleep(pause)
            pause = min(longest_pause, pause * 1.2)
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def kill(pid: int) -> None:
    """As an operator would with kill -9."""
    os.kill(pid, signal.SIGKILL)
