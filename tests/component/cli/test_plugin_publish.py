"""A plugin goes into the catalogue without an instance: here and in a Job that waits for its registry."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from forgemesh.cli import plugin_publish
from forgemesh.cli.command_line import CommandLine
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.problem import Problem
from forgemesh.cli.service_discovery import catalogue
from forgemesh.registry.main import running
from tests.component.cli.typed import Typed
from tests.component.registry.registries import settings_of
from tests.manual_clock import ManualClock

STOCK = """
from forgemesh.plugin import operation, plugin

@plugin("shop.stock", version="1.0.0")
class Stock:

    @operation
    def count(self, article: str) -> int:
        return 1
"""
PRICES = STOCK.replace("shop.stock", "shop.prices").replace("Stock", "Prices")
CONFIG = """
[plugins.stock]
load = "stock:Stock"
[plugins.prices]
load = "prices:Prices"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "stock.py").write_text(STOCK)
    (tmp_path / "prices.py").write_text(PRICES)
    (tmp_path / "forgemesh.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
async def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The address of a registry that the environment names; there is no orchestrator."""
    async with running(settings_of(tmp_path / "registry.db"), ManualClock()) as server:
        monkeypatch.setenv("FORGEMESH_REGISTRY", server.address)
        yield server.address


@pytest.fixture
def typed() -> Typed:
    return Typed("nobody.invalid:7401")


@pytest.fixture
def line(typed: Typed) -> CommandLine:
    return typed.line()


async def versions(registry: str) -> dict[str, str]:
    return {one.plugin_id: one.version for one in (await catalogue(registry))[0]}


async def test_all_sections_are_published_without_an_orchestrator_and_once(
    registry: str, typed: Typed, line: CommandLine
) -> None:
    await plugin_publish.publish(line=line)
    await plugin_publish.publish("stock", "prices", "stock", line=line)

    assert typed.out.getvalue().splitlines() == [
        "shop.stock 1.0.0 is published",
        "shop.prices 1.0.0 is published",
        "shop.stock 1.0.0 was published before, as it is",
        "shop.prices 1.0.0 was published before, as it is",
    ]
    assert await versions(registry) == {"shop.stock": "1.0.0", "shop.prices": "1.0.0"}
    assert (await catalogue(registry))[1] == []


async def test_a_changed_manifest_is_refused_with_what_changed_and_the_version_it_deserves(
    registry: str, folder: Path, line: CommandLine
) -> None:
    await plugin_publish.publish("stock:Stock", line=line)
    (folder / "stock.py").write_text(STOCK.replace("article: str", "article: str, shelf: int"))

    with pytest.raises(Problem, match="is published with another content") as raised:
        await plugin_publish.publish("stock:Stock", line=line)

    assert (raised.value.exit_code, raised.value.reason) == (ExitCode.REFUSED, "MANIFEST_CONFLICT")
    assert "count" in "\n".join(raised.value.details)
    assert raised.value.hint == 'raise its version: version="2.0.0"'


async def test_one_that_is_refused_does_not_hold_up_the_others(
    registry: str, folder: Path, typed: Typed, line: CommandLine
) -> None:
    await plugin_publish.publish("stock", line=line)
    (folder / "stock.py").write_text(STOCK.replace("article: str", "article: int"))

    with pytest.raises(Problem, match="is published with another content"):
        await plugin_publish.publish(line=line)

    assert await versions(registry) == {"shop.stock": "1.0.0", "shop.prices": "1.0.0"}
    assert "shop.prices 1.0.0 is published" in typed.out.getvalue().splitlines()


async def test_all_that_are_refused_are_named(registry: str, folder: Path, line: CommandLine) -> None:
    await plugin_publish.publish(line=line)
    for name, text in (("stock.py", STOCK), ("prices.py", PRICES)):
        (folder / name).write_text(text.replace("article: str", "article: int"))

    with pytest.raises(Problem, match="2 of 2 plugins were not published") as raised:
        await plugin_publish.publish(line=line)

    told = "\n".join(raised.value.details)
    assert raised.value.exit_code is ExitCode.REFUSED
    assert [name in told for name in ("shop.stock 1.0.0", "shop.prices 1.0.0", "raise its version")] == [True] * 3


async def test_without_wait_a_registry_that_is_away_ends_it_at_once(
    monkeypatch: pytest.MonkeyPatch, typed: Typed, line: CommandLine
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("FORGEMESH_REGISTRY", f"127.0.0.1:{nobody.getsockname()[1]}")

        with pytest.raises(Problem, match="cannot reach the registry") as raised:
            await plugin_publish.publish(line=line)

    assert raised.value.exit_code is ExitCode.UNREACHABLE


async def test_with_wait_it_is_published_once_the_registry_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: Typed, line: CommandLine
) -> None:
    with socket.socket() as nobody:
        nobody.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        monkeypatch.setenv("FORGEMESH_REGISTRY", address)
        publishing = asyncio.create_task(plugin_publish.publish("stock", wait="60s", line=line))
        while not any("waiting up to 60 s" in text for text in typed.talk):
            await asyncio.sleep(0)
            assert not publishing.done()
    async with running(replace(settings_of(tmp_path / "registry.db"), listen=address), ManualClock()):
        await publishing

        assert await versions(address) == {"shop.stock": "1.0.0"}


async def test_what_is_wrong_with_a_plugin_is_said_before_anybody_is_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, line: CommandLine
) -> None:
    monkeypatch.setenv("FORGEMESH_REGISTRY", "127.0.0.1:1")
    (folder / "stock.py").write_text("raise ImportError('no scales')")

    with pytest.raises(Problem, match="cannot be served") as raised:
        await plugin_publish.publish("stock", wait="1h", line=line)

    assert raised.value.exit_code is ExitCode.USAGE
