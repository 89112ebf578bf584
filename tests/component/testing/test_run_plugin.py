"""An author's test: a plugin in a real process, called as a mesh calls it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from forgemesh.faults import Code
from forgemesh.plugin import OperationError
from forgemesh.testing import PluginDidNotStart, PluginEnded, PluginProcess, run_plugin
from tests.component.testing.unwell import Unwell
from tests.component.testing.workshop import Workshop, bench
from tests.mesh.processes import alive

OUTSIDE = """
from forgemesh.plugin import operation, plugin

@plugin("outside", version="1.0.0")
class Outside:
    @operation
    def here(self) -> str:
        return __file__
"""


@pytest.fixture
async def host() -> AsyncIterator[PluginProcess]:
    async with run_plugin(Workshop) as host:
        yield host


async def test_an_operation_is_called_in_another_process_with_its_defaults(host: PluginProcess) -> None:
    assert await host.call("add", left=2) == 3
    assert await host.call("add", left=2, right=40) == 42
    assert host.pid != os.getpid()


async def test_the_failure_of_an_operation_is_the_error_that_it_raised(host: PluginProcess) -> None:
    with pytest.raises(OperationError) as failed:
        await host.call("refuse")

    error = failed.value
    assert (error.reason, error.message) == ("NO_WOOD", "there is no wood; order some")
    assert (error.retryable, error.code, error.retry_after) == (True, Code.UNAVAILABLE, 2.5)


async def test_an_exception_and_a_wrong_input_and_an_unknown_name_have_reasons_as_well(host: PluginProcess) -> None:
    for operation, given, reason in (
        ("break_", {}, "PLUGIN_EXCEPTION"),
        ("add", {"left": "two"}, "INPUT_INVALID"),
        ("subtract", {}, "OPERATION_NOT_FOUND"),
    ):
        with pytest.raises(OperationError) as failed:
            await host.call(operation, **given)
        assert failed.value.reason == reason

    assert "ZeroDivisionError: the saw" in await host.logged("ZeroDivisionError: the saw")


async def test_a_test_says_what_the_context_of_a_call_holds(host: PluginProcess) -> None:
    answer = await host.invoke(
        "told",
        timeout=30,
        attempt=3,
        idempotency_key="e1/saw",
        execution_id="e1",
        step_path="saw",
        heartbeat_details={"sawn": 7},
    )

    told = answer.output
    assert told == {
        "attempt": 3,
        "key": "e1/saw",
        "execution": "e1",
        "step": "saw",
        "left": told["left"],
        "details": {"sawn": 7},
    }
    assert 25 < told["left"] <= 30
    assert answer.ran > 0


async def test_a_call_that_takes_too_long_is_taken_back(host: PluginProcess) -> None:
    with pytest.raises(OperationError) as failed:
        await host.invoke("linger", timeout=0.1)

    assert failed.value.reason == "START_TO_CLOSE_TIMEOUT"
    assert await host.call("add", left=1) == 2


async def test_everything_that_it_writes_is_kept_as_people_read_it(host: PluginProcess) -> None:
    await host.call("speak")
    await host.logged("noted")

    said = [line for line in host.log if line in ("printed", "complained", "logged", "noted")]
    assert sorted(said) == ["complained", "logged", "noted", "printed"]


async def test_only_what_a_mesh_passes_on_reaches_the_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_TEST", "x")

    async with run_plugin(Workshop, environment={"SAW": "sharp"}) as host:
        environment = await host.call("speak")

    assert environment["SAW"] == "sharp"
    assert "SECRET_OF_THE_TEST" not in environment
    assert "PATH" in environment


async def test_a_module_is_looked_for_in_the_folders_that_the_test_names(tmp_path: Path) -> None:
    (tmp_path / "outside_plugin.py").write_text(OUTSIDE)

    async with run_plugin("outside_plugin:Outside", path=tmp_path) as host:
        assert await host.call("here") == str(tmp_path / "outside_plugin.py")
        assert (await host.manifest()).plugin_id == "outside"


async def test_functions_are_run_as_the_plugin_that_they_make_with_their_configuration() -> None:
    async with run_plugin(bench, config={"height": 90}) as host:
        assert await host.call("height") == 90

    with pytest.raises(PluginDidNotStart, match="height"):
        async with run_plugin(bench, config={"height": "tall"}):
            pass


async def test_a_process_that_ends_during_a_call_leaves_its_exit_code_and_its_last_lines(host: PluginProcess) -> None:
    with pytest.raises(PluginEnded, match="ended with exit code 9 during the call") as ended:
        await host.call("die")

    assert ended.value.exit_code == 9
    assert "last words" in ended.value.log


async def test_a_plugin_that_does_not_start_says_why() -> None:
    with pytest.raises(PluginDidNotStart, match="the door is locked") as failed:
        async with run_plugin(Unwell):
            pass

    assert failed.value.exit_code == 1


async def test_nothing_is_left_when_the_block_ends_also_if_it_ends_badly() -> None:
    with pytest.raises(KeyError):
        async with run_plugin(Workshop) as host:
            raise KeyError("of the test")

    assert not alive(host.pid)


async def test_a_class_that_another_process_cannot_import_is_refused_at_once() -> None:
    class Inside:
        pass

    refused = {Inside: "at the top of a module", "no_colon": 'not "module:Class"', 7: "is no plugin; give"}
    for wrong, why in refused.items():
        with pytest.raises(ValueError, match=why):
            async with run_plugin(wrong):  # type: ignore[arg-type]
                pass
