"""What an operator types about the plugins of a running mesh, every process real."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.mesh.up_process import FORGEMESH, Up, Workplace, going_up

pytestmark = pytest.mark.mesh

DEADLINE = 180.0
PRICES = """
from dataclasses import dataclass

from forgemesh.plugin import Context, operation, plugin


@dataclass
class Config:
    currency: str = "EUR"


@plugin("shop.prices", version="1.0.0", config=Config)
class Prices:
    def __init__(self, config: Config) -> None:
        self.config = config

    async def configure(self, config: Config) -> None:
        if config.currency == "XXX":
            raise ValueError("there is no such currency")
        self.config = config

    @operation(idempotent=True)
    def currency(self, ctx: Context) -> str:
        ctx.logger.warning("asked for the currency")
        return self.config.currency
"""
TILL = """
from forgemesh.plugin import operation, plugin


@plugin("shop.till", version="1.0.0", requires=["shop.prices@^1"])
class Till:
    @operation
    def open(self) -> bool:
        return True
"""
CRASHING = """
from pathlib import Path

from forgemesh.plugin import operation, plugin


@plugin("shop.crashing", version="1.0.0")
class Crashing:
    def start(self) -> None:
        if not Path("mended").exists():
            raise OSError("no database")

    @operation
    def well(self) -> bool:
        return True
"""
CONFIG = """
[plugins.prices]
load = "prices:Prices"
max_instances = 3
[plugins.till]
load = "till:Till"
[plugins.crashing]
load = "crashing:Crashing"
crash_budget = {crashes = 1, within = "10m"}
"""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    place = Workplace(tmp_path_factory.mktemp("control"), empty=True)
    for name, text in {"prices": PRICES, "till": TILL, "crashing": CRASHING}.items():
        (place.folder / f"{name}.py").write_text(text)
    (place.folder / "forgemesh.toml").write_text(CONFIG)
    with going_up(place) as mesh:
        yield mesh
    assert place.left_behind() == []


def typed(mesh: Up, *words: str) -> subprocess.CompletedProcess[str]:
    return mesh.place.forgemesh("plugin", *words)


def done(mesh: Up, *words: str) -> str:
    ran = typed(mesh, *words)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def until(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.05)
    return found


def states(mesh: Up) -> dict[str, str]:
    hosts = json.loads(done(mesh, "hosts", "-o", "json"))["hosts"]
    return {host["instance_id"]: host["state"].removeprefix("HOST_STATE_") for host in hosts}


def listed(mesh: Up) -> dict[str, dict[str, Any]]:
    rows = json.loads(done(mesh, "list", "-o", "json"))["plugins"]
    return {row["manifest"]["plugin_id"]: row for row in rows}


def test_an_operator_controls_the_plugins_of_a_mesh(mesh: Up) -> None:
    refused = typed(mesh, "unload", "prices")
    assert refused.returncode == 4
    assert "forgemesh plugin unload prices --cascade" in refused.stderr

    assert done(mesh, "unload", "shop.prices", "--cascade") == "stopped till\nstopped prices\n"
    rows = [line.split()[:5] for line in done(mesh, "load", "till").splitlines()]
    assert rows == [
        ["LEVEL", "NAME", "PLUGIN", "VERSION", "STARTED"],
        ["0", "prices", "shop.prices", "1.0.0", "now"],
        ["1", "till", "shop.till", "1.0.0", "now"],
    ]

    assert done(mesh, "reload", "prices").startswith("reloaded prices 1.0.0: prices-")
    assert done(mesh, "scale", "prices", "2") == "prices: 2 instances wanted, before 1\n"
    until(lambda: sum(state == "READY" for name, state in states(mesh).items() if name.startswith("prices")) == 2)
    too_many = typed(mesh, "scale", "prices", "9")
    assert too_many.returncode == 4
    assert "not 9" in too_many.stderr


def test_a_configuration_is_taken_on_by_a_running_plugin_or_refused_with_the_reason(mesh: Up) -> None:
    assert done(mesh, "configure", "prices", "currency=USD", "--dry-run") == "the configuration fits prices\n"
    until(lambda: typed(mesh, "call", "shop.prices/currency").returncode == 0)
    assert done(mesh, "call", "shop.prices/currency") == '"EUR"\n'
    assert done(mesh, "configure", "prices", "currency=USD").startswith("configured prices, revision ")
    assert done(mesh, "call", "shop.prices/currency") == '"USD"\n'

    wrong, rejected = (
        typed(mesh, "configure", "prices", "curency=USD"),
        typed(mesh, "configure", "prices", "currency=XXX"),
    )
    assert (wrong.returncode, rejected.returncode) == (2, 4)
    assert "curency" in wrong.stderr
    assert "there is no such currency" in rejected.stderr
    assert done(mesh, "call", "shop.prices/currency") == '"USD"\n'


def test_what_plugins_have_written_can_be_read_and_followed(mesh: Up) -> None:
    until(lambda: typed(mesh, "call", "shop.prices/currency").returncode == 0)

    until(lambda: "WARNING asked for the currency" in done(mesh, "logs", "prices", "-n", "100"))
    last = json.loads(done(mesh, "logs", "prices", "-n", "1", "-o", "json").splitlines()[-1])
    assert last["instance_id"].startswith("prices-")
    unknown = typed(mesh, "logs", "nobody")
    assert unknown.returncode == 3
    assert "plugins: crashing, prices, till" in unknown.stderr


def test_a_log_is_followed_line_by_line_until_ctrl_c(mesh: Up) -> None:
    follower = subprocess.Popen(
        [*FORGEMESH, "plugin", "logs", "prices", "-f", "-n", "1"],
        cwd=mesh.place.folder,
        env=mesh.place.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert follower.stdout is not None
    try:
        assert follower.stdout.readline()
        done(mesh, "call", "shop.prices/currency")
        while "asked for the currency" not in follower.stdout.readline():
            pass
        follower.send_signal(signal.SIGINT)

        assert follower.wait(DEADLINE) == 130
    finally:
        follower.kill()
        follower.wait(DEADLINE)
        follower.stdout.close()


def test_a_crash_loop_is_shown_plainly_until_it_is_reset(mesh: Up) -> None:
    until(lambda: states(mesh)["crashing-1"] == "CRASH_LOOP")
    shown, history = typed(mesh, "list"), done(mesh, "hosts", "crashing", "--history")

    assert "crashing-1 crashed too often; mend it, then: forgemesh plugin reset crashing" in shown.stderr
    assert "crash loop" in shown.stdout
    assert "no database" in shown.stdout
    assert "init" in history
    (mesh.place.folder / "mended").touch()
    assert done(mesh, "reset", "crashing") == "reset crashing-1\n"
    until(lambda: states(mesh)["crashing-1"] == "READY")
    until(lambda: listed(mesh).get("shop.crashing", {}).get("state") == "ok")


def test_versions_are_resolved_put_in_quarantine_and_pinned(mesh: Up) -> None:
    until(lambda: "shop.prices" in listed(mesh))
    rows = [line.split()[:3] for line in done(mesh, "resolve", "shop.till").splitlines()]
    assert rows == [["LEVEL", "PLUGIN", "VERSION"], ["0", "shop.prices", "1.0.0"], ["1", "shop.till", "1.0.0"]]

    def prices() -> int:
        return typed(mesh, "call", "shop.prices/currency").returncode

    until(lambda: prices() == 0)
    rows = [line.split()[:3] for line in done(mesh, "providers", "shop.prices@^1").splitlines()]
    assert rows[0] == ["INSTANCE", "PLUGIN", "VERSION"]
    assert rows[1][1:] == ["shop.prices", "1.0.0"]
    done(mesh, "quarantine", "shop.prices", "1.0.0", "--reason", "wrong currency")
    until(lambda: prices() != 0)
    conflict = typed(mesh, "resolve", "shop.till")
    assert conflict.returncode != 0
    assert "forgemesh plugin release shop.prices 1.0.0" in conflict.stderr
    assert "quarantine" in done(mesh, "list")

    done(mesh, "release", "shop.prices", "1.0.0")
    until(lambda: prices() == 0)
    done(mesh, "pin", "shop.prices", "^2")
    assert "forgemesh plugin unpin shop.prices" in typed(mesh, "resolve", "shop.till").stderr
    done(mesh, "unpin", "shop.prices")
    assert done(mesh, "resolve", "shop.prices@^1").splitlines()[1].split()[:3] == ["0", "shop.prices", "1.0.0"]
