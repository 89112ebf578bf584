"""A mesh of real processes for a benchmark, and what each of its processes costs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

STOP_DEADLINE = 30.0
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Mesh:
    """A running mesh: its data directory, the address of its orchestrator, the pids of its processes by name."""

    directory: Path
    address: str
    pids: dict[str, int]

    def cpu_seconds(self) -> dict[str, float]:
        """CPU that each process has used so far."""
        return {name: _cpu_seconds(pid) for name, pid in self.pids.items()}

    def log(self, service: str) -> list[dict[str, object]]:
        """The records that a service has written."""
        text = (self.directory / "logs" / f"{service}.log").read_text()
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@contextlib.contextmanager
def running_mesh(plugins: Path, directory: Path) -> Iterator[Mesh]:
    """`forgemesh up` with the plugins of a forgemesh.toml, its data in `directory`."""
    forgemesh = Path(sys.executable).with_name("forgemesh")
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [forgemesh, "up", "--config", plugins, "--data-dir", directory, "--any-port"],
        env={**os.environ, "FORGEMESH_READY_FD": str(writing)},
        pass_fds=[writing],
        stdout=subprocess.DEVNULL,
    )
    os.close(writing)
    try:
        with os.fdopen(reading) as ready:
            line = ready.readline()
        if not line:
            raise SystemExit("the mesh did not start; see the messages above")
        yield Mesh(directory, json.loads(line)["address"], _descendants(process.pid))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_DEADLINE)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _descendants(root: int) -> dict[str, int]:
    """Names (the module that runs, numbered where several do) and pids of all processes below `root`."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found: dict[str, int] = {}
    for pid in sorted(parents):
        ancestor = pid
        while ancestor in parents and ancestor != root:
            ancestor = parents[ancestor]
        if ancestor != root or pid == root:
            continue
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        module = next((word for word in words if word.startswith("forgemesh.")), words[0])
        name = module.removeprefix("forgemesh.").removesuffix(".main")
        found[name if name not in found else f"{name} {pid}"] = pid
    return found
