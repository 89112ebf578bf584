"""Plugins that change while they serve: reloaded, configured, scaled, started when called, stopped when idle."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from forgemesh.api.registry.v1 import event_pb2, instance_pb2, registry_service_pb2
from forgemesh.api.supervisor.v1 import supervisor_service_pb2 as pb
from forgemesh.chassis.server import Serving
from forgemesh.faults.service import InvalidRequest
from forgemesh.faults.supervisor import ConfigInvalid, ConfigRejected, ReloadFailed, ScaleOutOfBounds
from tests.component.plugin_host.registry import serving_registry
from tests.mesh.processes import alive
from tests.mesh.supervised import plugin_source, running_registry, section, state_of, supervised

pytestmark = pytest.mark.mesh


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Serving]:
    async with running_registry(tmp_path) as serving:
        yield serving


def write(directory: Path, name: str, *keys: str, version: str = "1.0.0", body: str = "", head: str = "") -> str:
    (directory / f"{name}.py").write_text(plugin_source(f"test.{name}", version=version, body=body, head=head))
    return section(name, directory, *keys)


STATEFUL = """
count = 0

@operation
async def add(self) -> int:
    self.count += 1
    return self.count

def save_state(self):
    return {"count": self.count}

def restore_state(self, state, version):
    self.count = state["count"]
"""


async def test_a_new_version_serves_before_the_old_one_drains_and_goes_on_with_its_state(
    tmp_path: Path, registry: Serving
) -> None:
    configuration = write(tmp_path, "counter", "instances = 2", body=STATEFUL)
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        before = await mesh.in_state(counter_1="READY", counter_2="READY")
        await mesh.call("counter-1", "add")
        await mesh.call("counter-1", "add")
        write(tmp_path, "counter", version="1.10.0", body=STATEFUL)
        answer = await mesh.ask("ReloadPlugin", pb.ReloadPluginRequest(name="counter"))
        after = await mesh.hosts()
        counted = [await mesh.call(name, "add") for name in sorted(after)]

    assert (answer.from_version, answer.to_version) == ("1.0.0", "1.10.0")
    assert list(answer.instance_ids) == ["counter-3", "counter-4"]
    assert sorted(after) == ["counter-3", "counter-4"]
    assert {host.plugin_version for host in after.values()} == {"1.10.0"}
    assert counted == [3, 1]
    assert mesh.notes()[:6] == ["start test.counter"] * 4 + ["stop test.counter"] * 2
    assert not any(alive(host.pid) for host in before.values())


@pytest.mark.parametrize(
    ("head", "body", "phase", "cause"),
    [
        ("import nothing_of_that_name", "", "HANDSHAKE", "No module named"),
        ("", "def start(self):\n    raise RuntimeError('no dictionary')", "INIT", "no dictionary"),
    ],
)
async def test_a_new_version_that_does_not_come_up_leaves_the_old_one_serving(
    tmp_path: Path, registry: Serving, head: str, body: str, phase: str, cause: str
) -> None:
    async with supervised(tmp_path, registry.address, write(tmp_path, "good", "instances = 2")) as mesh:
        before = await mesh.in_state(good_1="READY", good_2="READY")
        write(tmp_path, "good", version="2.0.0", head=head, body=body)
        fault = await mesh.fails("ReloadPlugin", pb.ReloadPluginRequest(name="good"))
        after = await mesh.hosts()
        answers = [await mesh.call(name, "ping") for name in after]

    assert isinstance(fault, ReloadFailed)
    assert (fault.metadata["name"], fault.metadata["phase"]) == ("good", phase)
    assert cause in fault.metadata["cause"]
    assert {name: host.pid for name, host in after.items()} == {name: host.pid for name, host in before.items()}
    assert answers == ["1.0.0", "1.0.0"]


async def test_an_exclusive_plugin_ends_before_its_successor_starts(tmp_path: Path, registry: Serving) -> None:
    configuration = write(tmp_path, "holder", "exclusive = true", body=STATEFUL)
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        await mesh.in_state(holder_1="READY")
        await mesh.call("holder-1", "add")
        write(tmp_path, "holder", "exclusive = true", version="1.0.1", body=STATEFUL)
        answer = await mesh.ask("ReloadPlugin", pb.ReloadPluginRequest(name="holder"))
        counted = await mesh.call("holder-1", "add")
        write(tmp_path, "holder", "exclusive = true", version="1.0.2", head="import nothing_of_that_name")
        fault = await mesh.fails("ReloadPlugin", pb.ReloadPluginRequest(name="holder"))

    assert list(answer.instance_ids) == ["holder-1"]
    assert mesh.notes()[:3] == ["start test.holder", "stop test.holder", "start test.holder"]
    assert counted == 2
    assert isinstance(fault, ReloadFailed)
    assert "it is exclusive, so its old process had ended before" in fault.metadata["cause"]


async def test_sections_that_are_added_or_changed_count_from_the_next_load_or_reload(
    tmp_path: Path, registry: Serving
) -> None:
    first = write(tmp_path, "first")
    async with supervised(tmp_path, registry.address, first) as mesh:
        await mesh.in_state(first_1="READY")
        file = tmp_path / "forgemesh.toml"
        file.write_text(first + "colour = 'red'\n")
        wrong = await mesh.fails("LoadPlugins", pb.LoadPluginsRequest(names=["second"]))
        file.write_text(write(tmp_path, "first", "instances = 2") + write(tmp_path, "second"))
        loaded = await mesh.ask("LoadPlugins", pb.LoadPluginsRequest(names=["second"]))
        unchanged = await mesh.hosts()
        await mesh.ask("LoadPlugins", pb.LoadPluginsRequest(names=["first"]))
        grown = await mesh.hosts()
        reloaded = await mesh.ask("ReloadPlugin", pb.ReloadPluginRequest(name="first"))
        after = await mesh.hosts()

    assert isinstance(wrong, InvalidRequest)
    assert "unknown key 'colour'" in wrong.message
    assert [(one.name, one.started) for one in loaded.plugins] == [("second", True)]
    assert sorted(unchanged) == ["first-1", "second-1"]
    assert sorted(grown) == ["first-1", "first-2", "second-1"]
    assert list(reloaded.instance_ids) == ["first-3", "first-4"]
    assert sorted(after) == ["first-3", "first-4", "second-1"]


CONFIGURED = """
import msgspec
from typing import Annotated

from forgemesh.plugin import operation, plugin

class Size(msgspec.Struct, forbid_unknown_fields=True):
    width: Annotated[int, msgspec.Meta(ge=1)] = 1
    name: str = ""

@plugin("test.sized", version="1.0.0", config=Size)
class Plugin:
    def __init__(self, config):
        self.size = config

    async def configure(self, config):
        if config.name == "bad":
            raise ValueError("no such name")
        self.size = config

    @operation
    async def width(self) -> int:
        return self.size.width
"""


async def test_a_configuration_is_checked_taken_on_by_all_or_by_none(tmp_path: Path, registry: Serving) -> None:
    (tmp_path / "sized.py").write_text(CONFIGURED)
    configuration = section("sized", tmp_path, "instances = 2", "config = { width = 3 }")

    def request(value: object, *, dry_run: bool = False) -> pb.ConfigurePluginRequest:
        return pb.ConfigurePluginRequest(name="sized", config=json.dumps(value), dry_run=dry_run)

    async with supervised(tmp_path, registry.address, configuration) as mesh:
        before = await mesh.in_state(sized_1="READY", sized_2="READY")

        async def widths() -> list[int]:
            return [await mesh.call(name, "width") for name in ("sized-1", "sized-2")]

        at_first = await widths()
        misfit = await mesh.fails("ConfigurePlugin", request({"width": "wide", "name": 7}))
        refused = await mesh.fails("ConfigurePlugin", request({"width": 5, "name": "bad"}))
        unchanged = await widths()
        await mesh.ask("ConfigurePlugin", request({"width": 9}, dry_run=True))
        tried = await widths()
        answer = await mesh.ask("ConfigurePlugin", request({"width": 7}))
        changed = await widths()
        after = await mesh.hosts()

    assert at_first == unchanged == tried == [3, 3]
    assert isinstance(misfit, ConfigInvalid)
    assert [violation.field for violation in misfit.violations] == ["$.name", "$.width"]
    assert isinstance(refused, ConfigRejected)
    assert "no such name" in refused.metadata["cause"]
    assert (answer.revision, answer.reloaded) == (2, False)
    assert changed == [7, 7]
    assert {name: host.pid for name, host in after.items()} == {name: host.pid for name, host in before.items()}
    assert {host.config_revision for host in after.values()} == {2}


async def test_a_plugin_that_is_configured_only_at_its_start_is_reloaded_for_it(
    tmp_path: Path, registry: Serving
) -> None:
    source = (
        CONFIGURED[: CONFIGURED.index("    async def configure")] + CONFIGURED[CONFIGURED.index("    @operation") :]
    )
    (tmp_path / "sized.py").write_text(source)
    async with supervised(tmp_path, registry.address, section("sized", tmp_path)) as mesh:
        await mesh.in_state(sized_1="READY")
        request = pb.ConfigurePluginRequest(name="sized", config='{"width": 4}')
        answer = await mesh.ask("ConfigurePlugin", request)
        width = await mesh.call("sized-2", "width")

    assert answer.reloaded
    assert width == 4


async def test_a_plugin_has_as_many_hosts_as_somebody_says_within_its_bounds(tmp_path: Path, registry: Serving) -> None:
    configuration = write(tmp_path, "many", "instances = 2", "min_instances = 1")
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        await mesh.in_state(many_1="READY", many_2="READY")
        up = await mesh.ask("ScalePlugin", pb.ScalePluginRequest(name="many", instances=4))
        await mesh.in_state(many_1="READY", many_2="READY", many_3="READY", many_4="READY")
        await mesh.ask("ScalePlugin", pb.ScalePluginRequest(name="many", instances=1))
        await mesh.until(lambda hosts: list(hosts) == ["many-1"])
        fault = await mesh.fails("ScalePlugin", pb.ScalePluginRequest(name="many", instances=0))
        registered = await mesh.instances()

    assert up.before == 2
    assert isinstance(fault, ScaleOutOfBounds)
    assert fault.metadata == {"name": "many", "wanted": "0", "least": "1", "most": "1000"}
    assert list(registered) == ["many-1"]


BUSY = """
@operation
async def work(self, seconds: float) -> None:
    await asyncio.sleep(seconds)
"""


async def test_the_number_of_hosts_follows_the_load(tmp_path: Path, registry: Serving) -> None:
    keys = ("max_instances = 3", 'scale = { target = 0.05, down_after = "1s" }')
    async with supervised(tmp_path, registry.address, write(tmp_path, "busy", *keys, body=BUSY)) as mesh:
        await mesh.in_state(busy_1="READY")
        calls = [asyncio.create_task(mesh.call("busy-1", "work", seconds=6)) for _ in range(8)]
        await mesh.in_state(busy_1="READY", busy_2="READY", busy_3="READY")
        await asyncio.gather(*calls)
        await mesh.until(lambda hosts: list(hosts) == ["busy-1"])


async def test_a_lazy_plugin_is_known_and_does_not_run_until_it_is_needed(tmp_path: Path, registry: Serving) -> None:
    lazy = write(tmp_path, "lazy", "lazy = true", 'idle_stop = "1s"')
    (tmp_path / "user.py").write_text(plugin_source("test.user", requires='["test.lazy"]'))
    async with supervised(tmp_path, registry.address, lazy + section("user", tmp_path)) as mesh:
        hosts = await mesh.in_state(lazy_1="READY", user_1="READY")
        first = mesh.notes()[:2]
        await mesh.ask("UnloadPlugin", pb.UnloadPluginRequest(name="user"))
        idle = await mesh.in_state(lazy_1="STOPPED")

    assert first == ["start test.lazy", "start test.user"]
    assert state_of(hosts["lazy-1"]) == "READY"
    assert idle["lazy-1"].reason.startswith("nothing was asked of it for 1 s; it starts when it is called")


async def test_a_lazy_plugin_is_started_once_when_somebody_waits_for_it(tmp_path: Path) -> None:
    async with serving_registry() as mute:
        revision = instance_pb2.Revision(epoch=1, revision=1)
        mute.to_watch.put_nowait(
            registry_service_pb2.WatchInstancesResponse(revision=revision, all=registry_service_pb2.InstanceSet())
        )
        async with supervised(tmp_path, mute.address, write(tmp_path, "lazy", "lazy = true")) as mesh:
            asleep = (await mesh.in_state(lazy_1="STOPPED"))["lazy-1"]
            await mute.until(lambda: mute.published == ["test.lazy"])
            wanted = event_pb2.Event(kind=event_pb2.EVENT_KIND_WANTED, plugin_id="test.lazy")
            for _ in range(20):
                mute.events.put_nowait(registry_service_pb2.WatchEventsResponse(event=wanted, position=revision))
            await mesh.in_state(lazy_1="READY")
            kinds = [event.kind for request in mute.reported for event in request.events]
            notes = mesh.notes()

    assert asleep.reason.startswith("it starts when it is called")
    assert asleep.plugin_id == "test.lazy"
    assert notes == ["start test.lazy"]
    assert kinds[:3] == [event_pb2.EVENT_KIND_STARTED, event_pb2.EVENT_KIND_STOPPED, event_pb2.EVENT_KIND_STARTED]


async def test_what_hosts_write_is_told_from_its_last_lines_on(tmp_path: Path, registry: Serving) -> None:
    body = """
    @operation
    async def say(self, text: str) -> None:
        print(text, flush=True)
    """
    configuration = write(tmp_path, "talker", "instances = 2", body=body)
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        await mesh.in_state(talker_1="READY", talker_2="READY")
        await mesh.call("talker-1", "say", text="before")
        lines: list[str] = []
        stream = mesh.stub.TailLogs(pb.TailLogsRequest(name="talker", lines=100, follow=True), timeout=20)
        said = False
        async for line in stream:
            lines.append(f"{line.instance_id}: {line.line}")
            if lines[-1] == "talker-1: before" and not said:
                said = True
                await mesh.call("talker-2", "say", text="after")
            if lines[-1] == "talker-2: after":
                break
        last = [
            line.line
            async for line in mesh.stub.TailLogs(pb.TailLogsRequest(instance_id="talker-2", lines=1), timeout=20)
        ]

    assert any(line.startswith("talker-1: supervisor: process ") for line in lines)
    assert last == ["after"]
