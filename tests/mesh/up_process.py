"""`forgemesh up` as a process, for tests: started, waited for, asked, ended; no wait without a deadline."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

FORGEMESH = (sys.executable, "-m", "forgemesh.cli.main")
START_DEADLINE = 180.0
STOP_DEADLINE = 180.0
MARK = "FORGEMESH_TEST_MARK"

PLUGIN = '''
import asyncio

from forgemesh.plugin import Context, OperationError, operation, plugin


@plugin("greeter", version="1.0.0")
class Greeter:
    """Greets."""

    @operation(idempotent=True)
    async def greet(self, name: str) -> dict[str, str]:
        """A greeting."""
        if not name:
            raise OperationError("NO_NAME", "there is nobody to greet; give a name", retryable=False)
        return {"text": f"Hello, {name}!"}

    @operation(idempotent=True, timeout="60s")
    async def linger(self, seconds: float) -> dict[str, float]:
        """Takes its time."""
        await asyncio.sleep(seconds)
        return {"seconds": seconds}
'''

CONFIG = """
[plugins.greeter]
load = "greeter_plugin:Greeter"
"""

HELLO = """
name: hello
version: 1.0.0
input: {name: string}
steps:
  - id: greet
    call: {plugin: greeter, operation: greet}
    input: {name: "${input.name}"}
output: "${steps.greet.output}"
"""

LINGER = """
name: linger
version: 1.0.0
input: {seconds: number}
steps:
  - id: greet
    call: {plugin: greeter, operation: greet}
    input: {name: "you"}
  - id: linger
    call: {plugin: greeter, operation: linger}
    input: {seconds: "${input.seconds}"}
output: "${steps.linger.output}"
"""


@dataclass
class Workplace:
    """A folder with a plugin, a forgemesh.toml, two workflows, unless it is `empty`, and a place for a mesh's data."""

    folder: Path
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ) | {MARK: uuid.uuid4().hex})
    empty: bool = False

    def __post_init__(self) -> None:
        files = {
            "greeter_plugin.py": PLUGIN,
            "forgemesh.toml": CONFIG,
            "hello.yaml": HELLO,
            "linger.yaml": LINGER,
        }
        for name, text in files.items() if not self.empty else ():
            (self.folder / name).write_text(text)
        for name in ("FORGEMESH_ADDRESS", "NO_COLOR", "FORCE_COLOR"):
            self.environment.pop(name, None)

    @property
    def data(self) -> Path:
        """Where the mesh keeps its data, unless it is told otherwise."""
        return self.folder / ".forgemesh"

    def forgemesh(self, *arguments: str, deadline: float = 180.0) -> subprocess.CompletedProcess[str]:
        """One command, run to its end."""
        return subprocess.run(
            [*FORGEMESH, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=deadline,
            check=False,
        )

    def left_behind(self) -> list[str]:
        """The processes that were started from here, by any of our descendants, and do not come to an end."""
        deadline = time.monotonic() + STOP_DEADLINE
        while (found := self._running()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def _running(self) -> list[str]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"{MARK}={self.environment[MARK]}".encode() in (process / "environ").read_bytes().split(b"\0"):
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        return found


@dataclass
class Up:
    """A running `forgemesh up`."""

    process: subprocess.Popen[bytes]
    place: Workplace
    said: dict[str, Any]

    @property
    def address(self) -> str:
        """The orchestrator's."""
        return str(self.said["address"])

    def facts(self) -> dict[str, Any]:
        """What mesh.json says now."""
        return dict(json.loads((self.place.data / "mesh.json").read_text()))

    def pids(self) -> dict[str, int]:
        """The services and plugin hosts that run, and `up` itself."""
        status = json.loads(self.place.forgemesh("status", "-o", "json").stdout)
        services = {row["service"]: row["pid"] for row in status["services"]}
        return {"up": self.process.pid} | services | {row["instance"]: row["pid"] for row in status["instances"]}

    def await_talk(self, text: str, deadline: float = 180.0) -> list[str]:
        """Read what it says on stderr until a line contains `text`; those lines."""
        assert self.process.stderr is not None
        lines: list[str] = []
        while not lines or text not in lines[-1]:
            readable, _, _ = select.select([self.process.stderr], [], [], deadline)
            line = self.process.stderr.readline().decode() if readable else ""
            assert line, f"it did not say {text!r}, but {lines}"
            lines.append(line)
        return lines

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_DEADLINE)


@contextlib.contextmanager
def going_up(
    place: Workplace,
    *options: str,
    settings: Mapping[str, str] | None = None,
    inherit: tuple[int, ...] = (),
    open_files: int | None = None,
) -> Iterator[Up]:
    """
    `forgemesh up --any-port` once it is ready; stopped at the end if it still runs, and when the test is killed.

    With `open_files`, that is the limit of each of its processes, soft and hard.
    """
    bounded = () if open_files is None else ("sh", "-c", 'ulimit -n "$0" && exec "$@"', str(open_files))
    ready, tells = os.pipe()
    parent, lives = os.pipe()
    process = subprocess.Popen(
        [*bounded, *FORGEMESH, "up", "--any-port", *options],
        cwd=place.folder,
        env=place.environment
        | {"FORGEMESH_READY_FD": str(tells), "FORGEMESH_PARENT_FD": str(parent)}
        | dict(settings or {}),
        pass_fds=(tells, parent, *inherit),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    )
    os.close(tells)
    os.close(parent)
    try:
        with os.fdopen(ready) as pipe:
            readable, _, _ = select.select([pipe], [], [], START_DEADLINE)
            line = pipe.readline() if readable else ""
        assert line, f"the mesh did not start: {_rest(process.stderr)}"
        yield Up(process, place, json.loads(line))
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(STOP_DEADLINE)
        os.close(lives)
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def await_file(path: Path, within: float = START_DEADLINE) -> None:
    """Wait until there is such a file; it comes from a process that tells nobody."""
    until = time.monotonic() + within
    while not path.exists():
        assert time.monotonic() < until, f"there is no {path}"
        time.sleep(0.01)


def _rest(stream: IO[bytes] | None) -> str:
    """What can be read without waiting."""
    assert stream is not None
    os.set_blocking(stream.fileno(), False)
    return (stream.read() or b"").decode()


def await_end(pids: Mapping[str, int], within: float = STOP_DEADLINE) -> list[str]:
    """Wait for processes, ours or not; the names of those that outlive `within` seconds."""
    until = time.monotonic() + within
    left_running = []
    for name, pid in pids.items():
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            ended, _, _ = select.select([handle], [], [], max(0.0, until - time.monotonic()))
            os.close(handle)
            if not ended:
                left_running.append(name)
    return left_running
