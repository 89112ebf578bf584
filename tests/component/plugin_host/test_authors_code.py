"""What comes out of the hooks of a plugin, whatever that is, ends nothing but the hook."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from forgemesh.api.supervisor.v1 import host_pb2
from forgemesh.plugin import define, operation, plugin
from forgemesh.plugin_host.host.plugin.loader import load_definition, started
from forgemesh.plugin_host.host.plugin.start_failure import PluginNotLoaded


class Unspeakable(Exception):
    """Cannot be asked what it says."""

    def __str__(self) -> str:
        raise KeyboardInterrupt


OUTCRIES = {
    "CancelledError": asyncio.CancelledError,
    "SystemExit: 3": lambda: SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "Unspeakable": Unspeakable,
    "ValueError: bad luck": lambda: ValueError("bad luck"),
}
every_outcry = pytest.mark.parametrize(("said", "outcry"), OUTCRIES.items(), ids=OUTCRIES.keys())
Outcry = Callable[[], BaseException]


def crying(hook: str, outcry: Outcry, *, asynchronous: bool = True) -> type:
    """A plugin one hook of which raises."""

    def cry(*arguments: object) -> None:
        raise outcry()

    async def cry_later(*arguments: object) -> None:
        await asyncio.sleep(0)
        raise outcry()

    class Crier:
        @operation
        def look(self) -> None: ...

    setattr(Crier, hook, cry_later if asynchronous else cry)
    return plugin("test.crier", version="1.0.0")(Crier)


@every_outcry
@pytest.mark.parametrize("asynchronous", [True, False])
async def test_a_start_that_raises_anything_is_a_start_that_failed(
    said: str, outcry: Outcry, asynchronous: bool
) -> None:
    with pytest.raises(PluginNotLoaded, match=said) as failed:
        async with started(define(crying("start", outcry, asynchronous=asynchronous))):
            pass

    assert failed.value.phase == host_pb2.HOST_PHASE_INIT


@every_outcry
async def test_a_plugin_whose_making_raises_anything_has_not_started(said: str, outcry: Outcry) -> None:
    with pytest.raises(PluginNotLoaded, match=said):
        async with started(define(crying("__init__", outcry, asynchronous=False))):
            pass


@every_outcry
async def test_a_state_that_cannot_be_saved_for_any_reason_says_why(said: str, outcry: Outcry) -> None:
    async with started(define(crying("save_state", outcry))) as plugin:
        state = await plugin.save_state()

    assert state.failure == said
    assert not state.HasField("payload")


@every_outcry
async def test_a_stop_that_raises_anything_lets_its_host_stop(
    said: str, outcry: Outcry, caplog: pytest.LogCaptureFixture
) -> None:
    async with started(define(crying("stop", outcry))):
        pass

    assert "failed while stopping" in caplog.text


@every_outcry
@pytest.mark.parametrize("by_its_type", [True, False])
async def test_a_configuration_that_is_refused_with_anything_is_refused(
    said: str, outcry: Outcry, by_its_type: bool
) -> None:
    taken = []

    @dataclass
    class Size:
        size: int = 1

        def __post_init__(self) -> None:
            if by_its_type and self.size == 13:
                raise outcry()

    @plugin("test.picky", version="1.0.0", config=Size)
    class Picky:
        def __init__(self, config: Any) -> None: ...

        async def configure(self, config: Any) -> None:
            if config.size == 13:
                raise outcry()
            taken.append(config.size)

        @operation
        def look(self) -> None: ...

    async with started(define(Picky)) as picky:
        refused = await picky.configure('{"size": 13}', 2)
        accepted = await picky.configure('{"size": 2}', 3)

    assert said.removeprefix("ValueError: ") in refused.refusal
    assert not accepted.refusal
    assert taken[-1] == 2


async def test_a_module_whose_import_raises_anything_is_a_plugin_that_was_not_loaded(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "sulking_plugin.py").write_text("raise KeyboardInterrupt\n")

    with pytest.raises(PluginNotLoaded, match="KeyboardInterrupt"):
        load_definition("sulking_plugin:Plugin", [])


async def test_a_cancellation_of_the_host_goes_through_a_hook() -> None:
    begun = asyncio.Event()

    @plugin("test.waiter", version="1.0.0")
    class Waiter:
        async def save_state(self) -> None:
            begun.set()
            await asyncio.Event().wait()

        @operation
        def look(self) -> None: ...

    async with started(define(Waiter)) as waiter:
        saving = asyncio.create_task(waiter.save_state())
        await begun.wait()
        saving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saving
