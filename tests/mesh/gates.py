"""Plugins whose hooks wait at a gate, i.e. for as long as a file is there."""

from __future__ import annotations

from pathlib import Path

from tests.mesh.processes import eventually
from tests.mesh.supervised import Supervised, section

SOURCE = """
import asyncio, os, signal, time
from pathlib import Path
import msgspec
from forgemesh.plugin import operation, plugin

ME = os.environ["FORGEMESH_HOST_INSTANCE_ID"]
HERE = Path(os.environ["NOTES"]).parent

def note(word):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(word + "\\n")

def closed(hook):
    return (HERE / f"{hook}.{ME}.gate").exists()

async def passed(hook):
    note(f"{hook} {ME}")
    while closed(hook):
        await asyncio.sleep(0.02)

class Size(msgspec.Struct):
    width: int = 1

@plugin("test.gated", version="VERSION", config=Size)
class Plugin:
    def __init__(self, config):
        self.width = config.width
        self.count = 0

    async def start(self):
        await passed("start")

    async def stop(self):
        await passed("stop")

    async def configure(self, config):
        await passed("configure")
        self.width = config.width

    async def save_state(self):
        await passed("save_state")
        return self.count

    def restore_state(self, state, version):
        self.count = state

    @operation
    async def add(self) -> int:
        self.count += 1
        return self.count

    @operation
    async def shows(self) -> int:
        return self.width
"""


def gated(directory: Path, *keys: str, version: str = "1.0.0", replacing: tuple[str, str] = ("", "")) -> str:
    """Write the plugin, with one part of its source replaced, and give its section."""
    assert replacing[0] in SOURCE
    source = SOURCE.replace(*replacing) if replacing[0] else SOURCE
    (directory / "gated.py").write_text(source.replace("VERSION", version))
    return section("gated", directory, *keys)


def close(directory: Path, hook: str, instance_id: str) -> Path:
    """The gate of a hook; it opens when the file is gone."""
    gate = directory / f"{hook}.{instance_id}.gate"
    gate.touch()
    return gate


async def at(mesh: Supervised, hook: str, instance_id: str) -> None:
    """Return when the hook has come to its gate."""

    async def noted() -> bool:
        return f"{hook} {instance_id}" in mesh.notes()

    await eventually(noted)
