"""A plugin whose instances behave as a test says while they run, and which write down every call."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PLUGIN_ID = "test.moody"
CONCURRENCY = 64

SOURCE = """
import asyncio, os, time
from pathlib import Path
from forgemesh.faults import Code
from forgemesh.plugin import Context, OperationError, operation, plugin

DIRECTORY, ME = Path(os.environ["MOODY_DIRECTORY"]), os.environ["FORGEMESH_HOST_INSTANCE_ID"]


def mood():
    return (DIRECTORY / f"mood-{ME}").read_text() or "hold"  # empty while it is written


@plugin("test.moody", version="1.0.0", max_concurrency=int(os.environ["MOODY_CONCURRENCY"]))
class Moody:
    def __init__(self):
        self.ledger = os.open(DIRECTORY / "calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.calls = 0

    @operation
    async def ping(self, ctx: Context) -> str:
        self.calls += 1
        now, seen = time.time_ns(), mood()
        if seen == "half":
            seen = "fail" if self.calls % 2 else "ok"
        os.write(self.ledger, f"{ME} {now} {ctx.execution_id} {ctx.attempt} {seen}\\n".encode())
        while seen == "hold":
            await asyncio.sleep(0.01)
            seen = mood()
        if seen.startswith("slow:"):
            await asyncio.sleep(float(seen.removeprefix("slow:")))
        if seen.startswith("fail"):
            code = Code[seen.removeprefix("fail").removeprefix(":") or "INTERNAL"]
            raise OperationError("BROKEN", "in a bad mood", code=code, retryable=True)
        return ME
"""


@dataclass(frozen=True, slots=True)
class Call:
    """One call as the plugin saw it: which instance, when it began (Unix seconds), whose, and in which mood."""

    instance: str
    at: float
    execution_id: str
    attempt: int
    mood: str


@dataclass(frozen=True)
class Moods:
    """
    How instances behave, and what they wrote down, below `directory`.

    `ok`, `fail` (with INTERNAL, or another code: `fail:UNAVAILABLE`), `half` (every second call fails),
    `slow:<seconds>`, or `hold`: a call lasts until the mood is another one and then goes on in that.
    """

    directory: Path

    def write_plugin(self) -> None:
        """The module that hosts load."""
        (self.directory / "moody_plugin.py").write_text(SOURCE)

    def set(self, instance: str, mood: str) -> None:
        """From the next call on."""
        made = self.directory / f"mood-{instance}.new"
        made.write_text(mood)
        made.replace(self.directory / f"mood-{instance}")

    def environment(self, instance: str, registry: str, traces: str, concurrency: int) -> dict[str, str]:
        """Of a host that serves the instance."""
        return {
            "FORGEMESH_HOST_LOAD": "moody_plugin:Moody",
            "FORGEMESH_HOST_PATH": str(self.directory),
            "FORGEMESH_HOST_INSTANCE_ID": instance,
            "FORGEMESH_HOST_OWNER_TOKEN": "moody",
            "FORGEMESH_HOST_REGISTRY": registry,
            "FORGEMESH_HOST_TRACES": traces,
            "MOODY_DIRECTORY": str(self.directory),
            "MOODY_CONCURRENCY": str(concurrency),
        }

    def calls(self, instance: str = "", *, since: float = 0.0, until: float = float("inf")) -> list[Call]:
        """What was written down, in order of time; all instances unless one is named."""
        ledger = self.directory / "calls"
        if not ledger.exists():
            return []
        found = [_read(line) for line in ledger.read_text().splitlines(keepends=True) if line.endswith("\n")]
        chosen = (call for call in found if since <= call.at < until and instance in ("", call.instance))
        return sorted(chosen, key=lambda call: call.at)


def _read(line: str) -> Call:
    instance, at, execution_id, attempt, mood = line.split()
    return Call(instance, int(at) / 1e9, execution_id, int(attempt), mood)
