"""A plugin's configuration and state in its host."""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from forgemesh.api.payload.v1.payload_pb2 import Payload
from forgemesh.api.supervisor.v1 import attach_pb2, host_pb2
from forgemesh.plugin import define, operation, plugin
from forgemesh.plugin_host.host.plugin.loader import Beginning, Plugin, started
from forgemesh.plugin_host.host.plugin.start_failure import PluginNotLoaded, StartFailed


@dataclass
class Size:
    size: int = 1


@plugin("test.box", version="2.0.0", config=Size)
class Box:
    """Keeps things; refuses a size of 13, and any other while it is jammed."""

    made: "Box"

    def __init__(self, config: Size) -> None:
        Box.made = self
        self.seen = [config.size]
        self.things: dict[str, int] = {}
        self.jammed = False
        self.version = ""

    def start(self) -> None:
        self.things = {"nothing": 0}

    async def configure(self, config: Size) -> None:
        self.seen.append(config.size)
        if config.size == 13:
            raise ValueError("13 brings bad luck")

    async def save_state(self) -> dict[str, int]:
        if self.jammed:
            raise RuntimeError("it is jammed")
        return self.things

    def restore_state(self, state: dict[str, int], version: str) -> None:
        self.things = state
        self.version = version

    @operation
    def look(self) -> dict[str, int]:
        return self.things


@plugin("test.plain", version="1.0.0")
class Plain:
    @operation
    def look(self) -> None: ...


@plugin("test.stiff", version="1.0.0", config=Size)
class Stiff:
    """Takes a configuration on at its start only."""

    def __init__(self, config: Size) -> None: ...

    @operation
    def look(self) -> None: ...


functional = plugin("test.functional", version="1.0.0", config=Size)


@functional.operation
async def look(size: Size) -> int:
    return size.size


@contextlib.asynccontextmanager
async def box(**beginning: object) -> AsyncIterator[tuple[Plugin, Box]]:
    async with started(define(Box), Beginning(**beginning)) as plugin:  # type: ignore[arg-type]
        yield plugin, Box.made


async def test_a_plugin_is_made_with_its_configuration() -> None:
    async with box(config='{"size": 7}') as (_, made):
        assert made.seen == [7]


async def test_without_a_configuration_defaults_count() -> None:
    async with box() as (_, made):
        assert made.seen == [1]


async def test_a_configuration_that_does_not_fit_keeps_the_plugin_from_being_made() -> None:
    with pytest.raises(StartFailed) as failed:
        async with box(config='{"size": "big", "colour": "red"}'):
            pass

    assert failed.value.phase == host_pb2.HOST_PHASE_CONFIG
    assert "$.size: 'big' is not of type 'integer'" in str(failed.value)
    assert "'colour' was unexpected" in str(failed.value)


async def test_a_configuration_is_taken_on_while_the_plugin_runs() -> None:
    async with box() as (plugin, made):
        result = await plugin.configure('{"size": 2}', 5)

    assert (result.revision, result.refusal, result.needs_restart) == (5, "", False)
    assert made.seen == [1, 2]


async def test_a_configuration_that_the_plugin_refuses_is_rolled_back(caplog: pytest.LogCaptureFixture) -> None:
    async with box() as (plugin, made):
        await plugin.configure('{"size": 2}', 2)
        result = await plugin.configure('{"size": 13}', 3)

    assert result.refusal == "ValueError: 13 brings bad luck"
    assert made.seen == [1, 2, 13, 2]
    assert "refuses configuration 3" in caplog.text


@pytest.mark.parametrize("late", ["waits", "blocks", "goes on"])
async def test_a_configuration_that_takes_too_long_is_refused_and_rolled_back(late: str) -> None:
    seen: list[int] = []

    @plugin("test.slow", version="1.0.0", config=Size)
    class Slow:
        def __init__(self, config: Size) -> None: ...

        async def configure(self, config: Size) -> None:
            seen.append(config.size)
            if config.size == 1:
                return
            if late == "blocks":
                time.sleep(0.1)
            else:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    if late == "waits":
                        raise

        @operation
        def look(self) -> None: ...

    async with started(define(Slow)) as slow:
        result = await slow.configure('{"size": 2}', 2, 0.05)

    assert "0.05 s" in result.refusal
    assert not result.unsettled
    assert (seen, slow.config_revision) == ([2, 1], 0)


async def test_a_plugin_that_takes_neither_configuration_is_unsettled() -> None:
    @plugin("test.neither", version="1.0.0", config=Size)
    class Neither:
        def __init__(self, config: Size) -> None: ...

        async def configure(self, config: Size) -> None:
            raise ValueError(f"not {config.size}")

        @operation
        def look(self) -> None: ...

    async with started(define(Neither)) as neither:
        result = await neither.configure('{"size": 2}', 2)

    assert (result.refusal, result.unsettled) == ("ValueError: not 2", True)


async def test_a_configuration_that_does_not_fit_does_not_reach_the_plugin() -> None:
    async with box() as (plugin, made):
        result = await plugin.configure('{"size": "big"}', 2)

    assert result.refusal == "$.size: 'big' is not of type 'integer'"
    assert made.seen == [1]


async def test_a_plugin_without_configure_needs_a_restart() -> None:
    async with started(define(Stiff)) as plugin:
        fitting = await plugin.configure('{"size": 2}', 2)
        other = await plugin.configure('{"size": "big"}', 3)

    assert (fitting.needs_restart, fitting.refusal) == (True, "")
    assert (other.needs_restart, other.refusal) == (False, "$.size: 'big' is not of type 'integer'")


async def test_a_plugin_that_takes_no_configuration_says_so() -> None:
    async with started(define(Plain)) as plugin:
        result = await plugin.configure('{"size": 2}', 2)

    assert result.refusal == "the plugin takes no configuration"


async def test_functions_get_the_configuration_that_counts() -> None:
    async with started(define(functional), Beginning(config='{"size": 4}')) as plugin:
        method = plugin.operations["look"].method
        before = await method()
        await plugin.configure('{"size": 5}', 2)

        assert (before, await method()) == (4, 5)


async def test_a_state_is_saved_for_the_successor_and_restored_after_its_start() -> None:
    async with box() as (plugin, made):
        made.things = {"pencil": 3}
        state = await plugin.save_state()
    async with box(state=state) as (_, successor):
        assert successor.things == {"pencil": 3}

    assert (json.loads(state.payload.data), state.plugin_version) == ({"pencil": 3}, "2.0.0")
    assert successor.version == "2.0.0"


async def test_a_state_that_cannot_be_saved_says_why(caplog: pytest.LogCaptureFixture) -> None:
    async with box() as (plugin, made):
        made.things = {"much": 1, "x" * 3 * 1024 * 1024: 2}
        large = await plugin.save_state()
        made.jammed = True
        with caplog.at_level(logging.ERROR):
            jammed = await plugin.save_state()

    assert "at most 3145728 can be handed over" in large.failure
    assert jammed.failure == "RuntimeError: it is jammed"
    assert not jammed.HasField("payload")
    assert "cannot save its state" in caplog.text


async def test_a_plugin_without_a_state_leaves_none_and_takes_none() -> None:
    async with started(define(Plain)) as plugin:
        state = await plugin.save_state()
    left = attach_pb2.SavedState(payload=Payload(data=b"{}"), plugin_version="0.9.0")
    async with started(define(Plain), Beginning(state=left)):
        pass

    assert (state.HasField("payload"), state.failure, state.plugin_version) == (False, "", "1.0.0")


async def test_a_state_of_the_wrong_kind_keeps_the_successor_from_starting() -> None:
    left = attach_pb2.SavedState(payload=Payload(data=b'{"pencil": "many"}'), plugin_version="1.0.0")
    with pytest.raises(PluginNotLoaded, match=r"Expected `int`, got `str`") as failed:
        async with box(state=left):
            pass

    assert failed.value.phase == host_pb2.HOST_PHASE_INIT


async def test_a_start_that_takes_too_long_is_given_up() -> None:
    @plugin("test.slow", version="1.0.0")
    class Slow:
        async def start(self) -> None:
            await asyncio.Event().wait()

        @operation
        def look(self) -> None: ...

    with pytest.raises(PluginNotLoaded, match=r"has not started within 0\.01 s"):
        async with started(define(Slow), timeout=0.01):
            pass
