"""Operations that must not be repeated, on plugins that die in them: what they did is in a ledger of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mesh.up_process import Workplace, going_up

pytestmark = pytest.mark.mesh

PLUGIN = """
import os

from forgemesh.plugin import operation, plugin


def write(line):
    with open("LEDGER", "a") as ledger:
        ledger.write(line + "\\n")


@plugin("mortal", version="1.0.0")
class Mortal:
    @operation(idempotent=False)
    async def once(self, line: str) -> str:
        write(line)
        os._exit(1)

    @operation(idempotent=False)
    async def broken(self, line: str) -> str:
        write(line)
        raise RuntimeError("half way")
"""

WORKFLOW = """
name: {operation}
version: 1.0.0
steps:
  - id: a
    call: {{plugin: mortal, operation: {operation}}}
    input: {{line: {operation}}}
    in_doubt: fail
"""


@pytest.mark.parametrize("operation", ["once", "broken"])
def test_what_must_not_be_repeated_is_done_once_whatever_becomes_of_its_host(tmp_path: Path, operation: str) -> None:
    place = Workplace(tmp_path, empty=True)
    ledger = tmp_path / "ledger.txt"
    (tmp_path / "mortal_plugin.py").write_text(PLUGIN.replace("LEDGER", str(ledger)))
    (tmp_path / "forgemesh.toml").write_text('[plugins.mortal]\nload = "mortal_plugin:Mortal"\n')
    (tmp_path / "w.yaml").write_text(WORKFLOW.format(operation=operation))
    with going_up(place):
        ran = place.forgemesh("run", "w.yaml")

    assert ledger.read_text().splitlines() == [operation]
    assert "IN_DOUBT" in ran.stdout + ran.stderr
