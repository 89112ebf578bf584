"""The workflows of a simulated mesh: families, keys, caches and calls that must not be repeated, at random."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sqlite3
from functools import cache
from typing import Any

from forgemesh.orchestrator.dispatch.feed.hosts import FeedHosts
from forgemesh.orchestrator.dispatch.outcome_recorder import OutcomeRecorder
from forgemesh.orchestrator.store.sqlite.store import open_store
from forgemesh.orchestrator.values.retry import SECOND
from forgemesh.orchestrator.workflow.definition import Definition
from forgemesh.orchestrator.workflow.definition_text import read_definition
from forgemesh.orchestrator.workflow.definitions import Definitions
from tests.component.orchestrator.simulated_mesh.database import Whims, WorldDatabase, blank_disk, disk_of
from tests.component.orchestrator.simulated_mesh.effects import Effects
from tests.component.orchestrator.simulated_mesh.plugins import INTERFACE, Plugins
from tests.component.orchestrator.simulated_mesh.virtual_time import Calendar, RunLoop
from tests.unit.orchestrator.random_workflows import WEIGHTS, Author

SHARED = 20
"""So many seeds after one another share a library: what an expression costs is its compilation."""
NAMES = ("leaf", "keyed", "middle", "top", "again")
"""Each may have those before it as children; `again` has itself."""
LOOPING = 4
"""One library in so many knows loops, so that the others stay what planted mistakes are looked for in."""
MOST_STEPS = 7

NAMESPACES = ("default", "other")
EPOCH = 1_764_000_000 * SECOND
"""When every simulated mesh begins (Unix nanoseconds)."""

parse = cache(read_definition)
"""Definitions are immutable, so every life of the orchestrator may have the same."""


class FamilyAuthor(Author):
    """Writes a workflow whose steps may be executions of the workflows in `children`, with `loops` or without."""

    def __init__(self, draw: random.Random, children: tuple[str, ...], *, loops: bool) -> None:
        kinds = WEIGHTS if loops else {kind: weight for kind, weight in WEIGHTS.items() if kind != "loop"}
        super().__init__(draw, weights=kinds)
        self.children = children

    def step(self, depth: int, visible: tuple[str, ...]) -> dict[str, Any]:
        step = super().step(3 if self.names >= MOST_STEPS else depth, visible)
        if self.children and "call" in step and self.draw.random() < 0.3:
            kept = {key: value for key, value in step.items() if key in ("id", "when", "set")}
            self._workflow(kept, depth, visible)
            return kept
        return step

    def _workflow(self, step: dict[str, Any], depth: int, visible: tuple[str, ...]) -> None:
        draw = self.draw
        if not self.children:
            self._call(step, depth, visible)
            return
        step |= {"workflow": {"name": draw.choice(self.children)}, "input": {"n": "${input.n - 1}", "k": "${input.k}"}}
        step["retry"] = {"max_attempts": draw.randint(1, 2), "initial": "100ms"}
        step["on_close"] = draw.choice(["cancel", "cancel", "terminate", "abandon"])
        if step["workflow"]["name"] == "again":
            step["when"] = "input.n > 0"

    def _call(self, step: dict[str, Any], depth: int, visible: tuple[str, ...]) -> None:
        super()._call(step, depth, visible)
        draw = self.draw
        plugin = draw.choice(["acts", "acts", "acts", "single", "rare"])
        step["call"] = {"plugin": plugin, "operation": draw.choice(["do", "do", "once", "safe"])}
        if "compensate" in step:
            step["compensate"] |= {"plugin": draw.choice(["acts", "single"]), "operation": "undo"}
        elif draw.random() < 0.25:
            region = draw.choice(["eu", "us"])
            step["call"] = {"interface": INTERFACE, "operation": "look", "select": {"must": {"region": region}}}
            step["cache"] = {"ttl": "1h"}
            step["input"] = {"n": "${input.n}"}
        step.setdefault("timeouts", {})["start_to_close"] = "3s"


@cache
def library(number: int) -> tuple[str, ...]:
    """The sources of all workflows of one library."""
    draw = random.Random(f"library {number}")
    sources = []
    for index, name in enumerate(NAMES):
        children = NAMES[:index] if name != "again" else (*NAMES[:2], "again")
        tree = FamilyAuthor(draw, children, loops=number % LOOPING == LOOPING - 1).definition()
        if name == "again":
            own = {"workflow": {"name": "again"}, "input": {"n": "${input.n - 1}", "k": "${input.k}"}}
            tree["steps"].insert(0, {"id": "again", "when": "input.n > 0", **own})
        if name == "keyed" or (name != "again" and draw.random() < 0.2):
            tree["concurrency"] = {
                "key": draw.choice(["${input.k}", "${input.k}", "${input.n}"]),
                "limit": draw.choice([1, 1, 2]),
                "on_conflict": draw.choice(["queue", "queue", "cancel_in_progress", "cancel_newest"]),
            }
        sources.append(json.dumps({"name": name, "version": "1.0.0", **tree}))
    return tuple(sources)


@cache
def shelved(number: int) -> bytes:
    """A database in which every workflow of one library is registered, in two namespaces."""
    loop = RunLoop(0)
    with contextlib.closing(disk_of(blank_disk())) as disk:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(_register(disk, loop, library(number)))
        return disk.serialize()


async def _register(disk: sqlite3.Connection, loop: RunLoop, sources: tuple[str, ...]) -> None:
    store = await open_store(WorldDatabase(disk, Whims(lambda: 0.0), loop), parse)
    plugins = Plugins(random.Random(0), Calendar(), Effects())
    definitions = Definitions(store, plugins, FeedHosts("registrar", OutcomeRecorder().breached), parse, lambda: EPOCH)
    for source in sources:
        for namespace in NAMESPACES:
            await definitions.register(namespace, source)


def find(seed: int, name: str) -> Definition:
    """A definition of the seed's library."""
    return parse("default", library(seed // SHARED)[NAMES.index(name)])
