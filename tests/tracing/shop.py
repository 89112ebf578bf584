"""A mesh with a plugin that fails, dies and waits as its input says, and one in Go if that is there."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.architecture.repository import ROOT
from tests.mesh.up_process import Up, Workplace, going_up

BUILD_PATIENCE = 600.0

BANK = """
import asyncio
import os

from forgemesh.faults import Code
from forgemesh.plugin import Context, OperationError, operation, plugin


@plugin("shop.bank", version="1.0.0")
class Bank:
    @operation(idempotent=True)
    async def charge(self, ctx: Context) -> int:
        if ctx.attempt < 3:
            raise OperationError("BANK_BUSY", "come back later", code=Code.UNAVAILABLE, retryable=True)
        return ctx.attempt

    @operation(idempotent=True)
    async def book(self, ctx: Context) -> int:
        if ctx.attempt < 2:
            await asyncio.sleep(1.0)  # what has ended is with every collector by then
            os._exit(3)
        return ctx.attempt
"""

CONFIG = """
[plugins.bank]
load = "bank:Bank"
path = "."
"""

GO_CONFIG = """
[plugins.words]
command = ["{program}"]
"""

ORDER = """
name: order
version: 1.0.0
input: {{text: string}}
timeout: 2m
steps:
  - id: pay
    parallel:
      branches:
        charge:
          - id: charge
            call: {{plugin: shop.bank, operation: charge}}
            retry: {{max_attempts: 5, initial: 10ms, max_interval: 20ms}}
{go}
  - id: book
    after: [pay]
    call: {{plugin: shop.bank, operation: book}}
    retry: {{max_attempts: 3, initial: 10ms, max_interval: 20ms}}
output: "${{steps.book.output}}"
"""

GO_BRANCH = """        count:
          - id: count
            call: {plugin: text.words, operation: count}
            input: {text: "${input.text}"}
"""


@dataclass
class Shop:
    """A running mesh; `languages` are those of its plugins."""

    up: Up
    place: Workplace
    languages: tuple[str, ...]

    def run(self, execution_id: str) -> None:
        """An order with retries, a crash, a step that waits while nobody serves, and a call in another language."""
        ran = self.place.forgemesh("run", "order.yaml", "-i", "text=a b c", "--execution-id", execution_id)
        assert ran.returncode == 0, ran.stderr

    def exported(self, execution_id: str) -> list[dict[str, Any]]:
        """Its spans as OTLP has them in JSON."""
        told = self.place.forgemesh("trace", "export", execution_id, "-o", "json")
        assert told.returncode == 0, told.stderr
        resources = json.loads(told.stdout)["resourceSpans"]
        return [span for one in resources for scope in one["scopeSpans"] for span in scope["spans"]]

    def metrics_addresses(self) -> dict[str, str]:
        """Where each service tells its metrics."""
        return {name: one["metrics_address"] for name, one in self.up.facts()["services"].items()}


@contextlib.contextmanager
def running_shop(folder: Path, **environment: str) -> Iterator[Shop]:
    """The mesh, once it is ready."""
    place = Workplace(folder, empty=True)
    place.environment |= environment
    (folder / "bank.py").write_text(BANK)
    config, branch, languages = CONFIG, "", ["python"]
    if shutil.which("go") is not None:
        build = ["go", "build", "-o", f"{folder}/words", "./examples/words"]
        subprocess.run(build, cwd=ROOT / "clients" / "go", timeout=BUILD_PATIENCE, check=True)
        config, branch = config + GO_CONFIG.format(program=folder / "words"), GO_BRANCH
        languages.append("go")
    (folder / "forgemesh.toml").write_text(config)
    (folder / "order.yaml").write_text(ORDER.format(go=branch))
    with going_up(place) as up:
        yield Shop(up, place, tuple(languages))
    assert place.left_behind() == []
