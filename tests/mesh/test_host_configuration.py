"""Configuration and state of a plugin in a host process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration

from forgemesh.api.supervisor.v1 import attach_pb2 as pb
from tests.mesh.attached_host import HOST, call, host
from tests.mesh.processes import eventually, start_service
from tests.mesh.supervising import Supervising, supervising

pytestmark = pytest.mark.mesh

PLUGIN = """
from dataclasses import dataclass

from forgemesh.plugin import Secret, operation, plugin


@dataclass
class Shop:
    currency: str = "EUR"
    password: Secret | None = None


@plugin("test.words", version="1.2.0", config=Shop)
class Words:
    def __init__(self, config: Shop):
        self.config = config
        self.count = 0

    async def configure(self, config: Shop):
        if config.currency == "XXX":
            raise ValueError("there is no till for XXX")
        self.config = config

    def save_state(self):
        return {"count": self.count}

    def restore_state(self, state: dict[str, int], version: str):
        self.count = state["count"]

    @operation
    async def tells(self) -> dict[str, str | int]:
        self.count += 1
        password = self.config.password.read() if self.config.password else ""
        return {"currency": self.config.currency, "password": password, "count": self.count}
"""


def is_about(revision: int, result: pb.ConfigureResult) -> bool:
    return result.revision == revision


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervising]:
    async with supervising() as supervisor:
        yield supervisor


async def test_a_configuration_reaches_the_running_plugin_or_leaves_it_as_it_was(
    tmp_path: Path, supervisor: Supervising
) -> None:
    secret = tmp_path / "password"
    secret.write_text("hunter2\n")
    async with host(tmp_path, supervisor.address, PLUGIN) as process:
        await supervisor.initialize(config={"password": {"file": str(secret)}})
        address = (await supervisor.heard("ready")).address
        told = [await call(address, "tells")]
        results = []
        for revision, config in enumerate([{"currency": "USD"}, {"currency": "XXX"}, {"currencyy": "USD"}], start=2):
            await supervisor.say(configure=pb.Configure(config=json.dumps(config), revision=revision))
            results.append(await supervisor.heard("configured", partial(is_about, revision)))
            told.append(await call(address, "tells"))
        output = process.output()

    assert [(one["currency"], one["password"]) for one in told] == [
        ("EUR", "hunter2"),
        ("USD", ""),
        ("USD", ""),
        ("USD", ""),
    ]
    assert [result.refusal for result in results[:2]] == ["", "ValueError: there is no till for XXX"]
    assert "'currencyy' was unexpected" in results[2].refusal
    assert "hunter2" not in output


@pytest.mark.parametrize("raised", ["asyncio.CancelledError", "SystemExit(0)", "KeyboardInterrupt"])
async def test_a_host_hears_on_after_a_hook_that_raised_no_exception(
    tmp_path: Path, supervisor: Supervising, raised: str
) -> None:
    source = "import asyncio\n" + PLUGIN.replace('ValueError("there is no till for XXX")', raised).replace(
        'return {"count": self.count}', f"raise {raised}"
    )
    async with host(tmp_path, supervisor.address, source):
        await supervisor.initialize()
        await supervisor.heard("ready")
        await supervisor.say(configure=pb.Configure(config='{"currency": "XXX"}', revision=2))
        refused = await supervisor.heard("configured", partial(is_about, 2))
        await supervisor.say(save_state=pb.SaveState())
        state = await supervisor.heard("state")
        await supervisor.say(configure=pb.Configure(config='{"currency": "USD"}', revision=3))
        accepted = await supervisor.heard("configured", partial(is_about, 3))

    said = raised.removeprefix("asyncio.").replace("(0)", ": 0")
    assert (refused.refusal, state.failure, accepted.refusal) == (said, said, "")


async def test_a_host_that_was_busy_for_all_the_time_that_it_had_does_not_begin_and_says_which_question_that_was(
    tmp_path: Path, supervisor: Supervising
) -> None:
    busy, gate = tmp_path / "busy", tmp_path / "gate"
    gate.touch()
    blocking = (
        f'__import__("pathlib").Path({str(busy)!r}).touch(); '
        f'[__import__("time").sleep(0.01) for _ in iter(__import__("pathlib").Path({str(gate)!r}).exists, False)]'
    )
    source = PLUGIN.replace('raise ValueError("there is no till for XXX")', blocking)
    moment = Duration(nanos=1_000_000)
    async with host(tmp_path, supervisor.address, source):
        await supervisor.initialize()
        address = (await supervisor.heard("ready")).address
        await supervisor.say(configure=pb.Configure(config='{"currency": "XXX"}', revision=2, request=7))
        await eventually(partial(asyncio.to_thread, busy.exists))
        await supervisor.say(configure=pb.Configure(config='{"currency": "USD"}', revision=3, within=moment, request=8))
        await supervisor.say(save_state=pb.SaveState(within=moment, request=9))
        await supervisor.heard("load", lambda load: True)
        gate.unlink()
        accepted = await supervisor.heard("configured", partial(is_about, 2))
        late = await supervisor.heard("configured", partial(is_about, 3))
        state = await supervisor.heard("state")
        told = await call(address, "tells")

    assert (accepted.request, accepted.refusal) == (7, "")
    assert (late.request, state.request) == (8, 9)
    assert late.refusal == state.failure == "it heard of it too late: the process was busy with something else"
    assert not state.HasField("payload")
    assert told["currency"] == "XXX"


async def test_a_configuration_that_does_not_fit_fails_in_config(tmp_path: Path, supervisor: Supervising) -> None:
    async with host(tmp_path, supervisor.address, PLUGIN):
        await supervisor.initialize(config={"currency": 7, "password": "hunter2"})
        phase, reason = await supervisor.failure()

    assert phase == "CONFIG"
    assert reason.startswith("cannot configure plugin test.words: $.currency: 7 is not of type 'string'; $.password: ")


async def test_a_successor_goes_on_where_its_predecessor_was(tmp_path: Path, supervisor: Supervising) -> None:
    async with host(tmp_path, supervisor.address, PLUGIN):
        await supervisor.initialize()
        before = (await supervisor.heard("ready")).address
        await call(before, "tells")
        await supervisor.say(save_state=pb.SaveState())
        state = await supervisor.heard("state")
        newer = PLUGIN.replace("1.2.0", "1.3.0")
        async with host(tmp_path, supervisor.address, newer, FORGEMESH_HOST_INSTANCE_ID="words-2"):
            await supervisor.heard("hello", lambda hello: hello.manifest.version == "1.3.0")
            await supervisor.initialize(state=state)
            after = await supervisor.heard("ready", lambda ready: ready.address != before)
            told = await call(after.address, "tells")

    assert state.plugin_version == "1.2.0"
    assert told["count"] == 2


@pytest.mark.parametrize(("name", "text"), [("shop.toml", 'currency = "USD"'), ("shop.json", '{"currency": "USD"}')])
async def test_without_a_supervisor_the_configuration_is_a_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "words_plugin.py").write_text(PLUGIN)
    (tmp_path / name).write_text(text)
    environment = {
        "FORGEMESH_HOST_LOAD": "words_plugin:Words",
        "FORGEMESH_HOST_PATH": str(tmp_path),
        "FORGEMESH_HOST_CONFIG": name,
    }
    async with start_service(HOST, environment, tmp_path) as service:
        assert (await call(service.address, "tells"))["currency"] == "USD"
