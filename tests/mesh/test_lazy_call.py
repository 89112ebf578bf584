"""`forgemesh plugin call` of a plugin that starts when it is called, every process real."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mesh.up_process import Up, Workplace, going_up

pytestmark = pytest.mark.mesh

SLEEPER = """
from forgemesh.plugin import operation, plugin


@plugin("shop.sleeper", version="1.0.0")
class Sleeper:
    @operation
    def wake(self) -> str:
        return "awake"
"""
CONFIG = '[plugins.sleeper]\nload = "sleeper:Sleeper"\nlazy = true\n'


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Up]:
    place = Workplace(tmp_path, empty=True)
    (place.folder / "sleeper.py").write_text(SLEEPER)
    (place.folder / "forgemesh.toml").write_text(CONFIG)
    with going_up(place) as mesh:
        yield mesh
    assert place.left_behind() == []


def state(mesh: Up) -> str:
    (host,) = json.loads(mesh.place.forgemesh("plugin", "hosts", "-o", "json").stdout)["hosts"]
    return str(host["state"]).removeprefix("HOST_STATE_")


def test_a_call_starts_it_as_a_workflow_does_and_one_that_was_unloaded_stays_down(mesh: Up) -> None:
    asleep = state(mesh)
    called = mesh.place.forgemesh("plugin", "call", "shop.sleeper/wake")
    awake = state(mesh)
    unloaded = mesh.place.forgemesh("plugin", "unload", "sleeper")
    refused = mesh.place.forgemesh("plugin", "call", "shop.sleeper/wake")

    assert (called.returncode, called.stdout) == (0, '"awake"\n'), called.stderr
    assert (asleep, awake) == ("STOPPED", "READY")
    assert unloaded.returncode == 0, unloaded.stderr
    assert "no instance serves shop.sleeper now" in refused.stderr
    assert state(mesh) == "DISABLED"
