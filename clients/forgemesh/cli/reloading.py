"""Watches the source of plugins, and lets the supervisor replace those whose source has changed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from forgemesh.api.supervisor.v1.supervisor_service_pb2 import LoadPluginsRequest, ReloadPluginRequest
from forgemesh.api.supervisor.v1.supervisor_service_pb2_grpc import SupervisorServiceStub
from forgemesh.chassis.tasks import lasting
from forgemesh.cli.plugin_inspection import Inspection, inspect_plugin
from forgemesh.cli.plugin_sections import PluginSection, read_tables, sections_of
from forgemesh.cli.problem import Problem, problem_of
from forgemesh.client.peer import Peer
from forgemesh.faults import Fault
from forgemesh.faults.supervisor import ReloadFailed

PERIOD = 0.25
"""Seconds between two looks at the files; what changed has to look the same twice before it counts."""
PATIENCE = 120.0

Tables: TypeAlias = Mapping[str, Any]
Look: TypeAlias = Mapping[Path, tuple[int, int, int] | None]
"""Of each file its inode, size and time of change; None while it is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloading:
    """
    All plugins of a project, each watched by itself, and its configuration.

    `supervisor` tells where the supervisor listens, `say` tells people lines.
    """

    config: Path
    supervisor: Callable[[], str]
    say: Callable[..., None]

    async def run(self) -> None:
        """Until cancelled."""
        before = looked_at([self.config])
        tables = _plugins(read_tables(self.config))
        watched = {one.name: self._watched(one) for one in sections_of(self.config, {"plugins": tables})}
        for one in watched.values():
            await one.look()
        number = len({file for one in watched.values() for file in one.files})
        self.say(f"watching {number} source files; a plugin is replaced when its source changes")
        async with asyncio.TaskGroup() as tasks:
            for one in watched.values():
                one.watch(tasks)
            follow = partial(self._follow, tables, before, tasks, watched)
            tasks.create_task(lasting(f"the watch of {self.config.name}", follow))

    async def _follow(
        self, tables: Tables, before: Look, tasks: asyncio.TaskGroup, watched: dict[str, Watched]
    ) -> None:
        """
        Until cancelled: load plugins that come into the configuration, replace those whose section changes.

        `watched` are those that are, as their sections are now.
        """
        while True:
            await change_of(lambda: looked_at([self.config]), before)
            before = looked_at([self.config])
            try:
                now = _plugins(read_tables(self.config))
            except Problem as problem:
                what = f"{self.config.name} changed and cannot be read; what runs goes on"
                self.say(what, *_indented(problem.as_lines()))
                continue
            sections = {one.name: one for one in sections_of(self.config, {"plugins": now})}
            for name in (name for name in tables if name not in now):
                self.say(f"{name} is no longer in {self.config.name}; it runs until: forgemesh plugin unload {name}")
                await _leave(watched, name)
            for name in (name for name in now if now[name] != tables.get(name)):
                await _leave(watched, name)
                one = self._watched(sections.get(name, PluginSection(name, "")))
                if name in sections:
                    watched[name] = one
                    await one.look()
                    one.watch(tasks)
                await (one.reload() if name in tables else one.load())
            tables = now

    def _watched(self, section: PluginSection) -> Watched:
        return Watched(section, self.supervisor, self.say)


class Watched:
    """One plugin and the files that it was imported from."""

    def __init__(self, section: PluginSection, supervisor: Callable[[], str], say: Callable[..., None]) -> None:
        self._section = section
        self._supervisor = supervisor
        self._say = say
        self.files: frozenset[Path] = frozenset()
        self._known: Look = {}
        self._watching: asyncio.Task[None] | None = None
        self._replacing = asyncio.Lock()

    async def look(self) -> Inspection:
        """Import the plugin, and remember which files that reads and how they are; first how they were before it."""
        before = looked_at(self.files)
        inspection = await inspect_plugin(self._section)
        found = frozenset((*inspection.sources, *_guessed(self._section, broken=bool(inspection.mistakes))))
        self.files = found | self.files if inspection.mistakes else found
        self._known = {file: before.get(file, look) for file, look in looked_at(self.files).items()}
        return inspection

    def watch(self, tasks: asyncio.TaskGroup) -> None:
        """Replace the plugin whenever its source changes, until it is left."""
        self._watching = tasks.create_task(lasting(f"the watch of {self._section.name}", self._run))

    async def leave(self) -> None:
        """Watch it no more; what has begun comes to its end first."""
        async with self._replacing:
            if self._watching is not None:
                self._watching.cancel()

    async def _run(self) -> None:
        while True:
            changed = await change_of(lambda: looked_at(self.files), self._known)
            async with self._replacing:
                self._say(f"{self._section.name}: {', '.join(sorted(file.name for file in changed))} changed")
                inspection = await self.look()
                if inspection.mistakes:
                    self._say(*_broken(inspection))
                    continue
                await self.reload()

    async def load(self) -> None:
        """Start a plugin that is new, and say what became of it."""
        peer, name = Peer("supervisor", self._supervisor()), self._section.name
        try:
            async with peer.channel() as channel:
                method = SupervisorServiceStub(channel).LoadPlugins
                answer = await peer.call(method, LoadPluginsRequest(names=[name]), deadline=PATIENCE)
        except Fault as fault:
            self._say(f"{name}: not started", *_indented(problem_of(fault).as_lines()))
        else:
            versions = [one.version for one in answer.plugins if one.name == name]
            self._say(f"{name}: started, {', '.join(versions)}")

    async def reload(self) -> None:
        """Replace its processes, and say what became of that."""
        peer = Peer("supervisor", self._supervisor())
        try:
            async with peer.channel() as channel:
                method = SupervisorServiceStub(channel).ReloadPlugin
                answer = await peer.call(method, ReloadPluginRequest(name=self._section.name), deadline=PATIENCE)
        except ReloadFailed as failed:
            said = failed.metadata
            if said["phase"] == "SERVING":  # something served, and has ended or cannot hand over what it has
                self._say(f"{self._section.name}: not replaced", *_indented(problem_of(failed).as_lines()))
                return
            self._say(
                f"{self._section.name}: the new one does not come up, phase {said['phase']}: {said['cause']}",
                f"  the old one goes on; its log: forgemesh plugin logs {self._section.name}",
            )
        except Fault as fault:
            self._say(f"{self._section.name}: not replaced", *_indented(problem_of(fault).as_lines()))
        else:
            version = answer.to_version
            change = version if answer.from_version == version else f"{answer.from_version} -> {version}"
            self._say(f"{self._section.name}: replaced, {change}, {', '.join(answer.instance_ids)}")


async def _leave(watched: dict[str, Watched], name: str) -> None:
    one = watched.pop(name, None)
    if one is not None:
        await one.leave()


async def change_of(look: Callable[[], Look], known: Look) -> list[Path]:
    """The files that are not as they were known, once two looks in a row agree."""
    last = known
    while True:
        await asyncio.sleep(PERIOD)
        now = look()
        changed = [file for file, state in now.items() if state != known.get(file)]
        if changed and now == last:
            return changed
        last = now


def _plugins(tables: Tables) -> dict[str, Any]:
    found = tables.get("plugins")
    return dict(found) if isinstance(found, dict) else {}


def looked_at(files: Iterable[Path]) -> Look:
    """How the files are now."""
    return {file: _state(file) for file in files}


def _state(file: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(file)  # noqa: PTH116 - of a file that may be replaced at any moment
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _guessed(section: PluginSection, *, broken: bool) -> Iterable[Path]:
    """The plugin's own file, and if it cannot be imported everything beside it that it may have meant."""
    module = section.load.partition(":")[0].replace(".", "/")
    for folder in section.folders:
        own = [file for file in (folder / f"{module}.py", folder / module / "__init__.py") if file.exists()]
        yield from own
        if broken:
            yield from folder.glob("*.py")


def _broken(inspection: Inspection) -> list[str]:
    lines = [line for mistake in inspection.mistakes for line in mistake.splitlines()]
    lines += [f"| {text}" for text in inspection.written]
    return [f"{inspection.section.name}: not replaced, it cannot be served; the old one goes on", *_indented(lines)]


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]
