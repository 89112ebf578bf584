"""What needs what: plugins that start after others, wait for others, lose others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from forgemesh.api.supervisor.v1 import supervisor_service_pb2 as pb
from forgemesh.chassis.server import Serving
from forgemesh.faults.registry import DependencyCycle, DependencyMissing
from forgemesh.faults.supervisor import DependentsLive, LoadFailed, PluginNotConfigured
from tests.mesh.processes import kill
from tests.mesh.supervised import plugin_source, running_registry, section, state_of, supervised

pytestmark = pytest.mark.mesh


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Serving]:
    async with running_registry(tmp_path) as serving:
        yield serving


def write(directory: Path, name: str, **declared: str) -> str:
    """A plugin `test.<name>`; its section."""
    version = declared.pop("version", "1.0.0")
    head = declared.pop("head", "")
    body = declared.pop("body", "")
    source = plugin_source(f"test.{name}", version=version, head=head, body=body, **declared)
    (directory / f"{name}.py").write_text(source)
    return section(name, directory)


async def test_plugins_start_after_what_they_need_whatever_their_order_in_the_file(
    tmp_path: Path, registry: Serving
) -> None:
    configuration = (
        write(tmp_path, "top", requires='["test.middle@^1"]')
        + write(tmp_path, "middle", requires='[Requires(interface="test.ground", range="^2.1")]')
        + write(tmp_path, "bottom", provides='["test.ground@2.3.0"]')
    )
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        await mesh.in_state(top_1="READY", middle_1="READY", bottom_1="READY")
        loaded = await mesh.ask("LoadPlugins", pb.LoadPluginsRequest())

    assert mesh.notes()[:3] == ["start test.bottom", "start test.middle", "start test.top"]
    assert [(one.plugin_id, one.level, one.started) for one in loaded.plugins] == [
        ("test.bottom", 0, False),
        ("test.middle", 1, False),
        ("test.top", 2, False),
    ]


async def test_plugins_that_do_not_need_one_another_start_at_the_same_time(tmp_path: Path, registry: Serving) -> None:
    others = """
        async def start(self):
            note("begin")
            while Path(os.environ["NOTES"]).read_text().count("begin") < 4:
                await asyncio.sleep(0.01)
        """
    configuration = "".join(write(tmp_path, name, body=others) for name in "abcd")
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        hosts = await mesh.in_state(a_1="READY", b_1="READY", c_1="READY", d_1="READY")

    assert {host.restarts for host in hosts.values()} == {0}


async def test_a_plugin_works_without_what_is_optional_and_recovers_when_that_appears(
    tmp_path: Path, registry: Serving
) -> None:
    optional = '[Requires(plugin="test.extra", optional=True)]'
    configuration = write(tmp_path, "user", requires=optional) + write(tmp_path, "extra")
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        await mesh.in_state(user_1="READY", extra_1="READY")
        first = mesh.notes()[:2]
        await mesh.ask("UnloadPlugin", pb.UnloadPluginRequest(name="extra"))
        without = await mesh.in_state(user_1="DEGRADED", extra_1="DISABLED")
        await mesh.ask("LoadPlugins", pb.LoadPluginsRequest(names=["extra"]))
        recovered = await mesh.in_state(user_1="READY", extra_1="READY")

    assert first == ["start test.extra", "start test.user"]
    assert list(without["user-1"].missing) == ["test.extra"]
    assert without["user-1"].reason == "missing: test.extra"
    assert recovered["user-1"].pid == without["user-1"].pid


async def test_what_is_missing_is_named_and_nothing_starts_for_it(tmp_path: Path, registry: Serving) -> None:
    configuration = write(tmp_path, "top", requires='["test.middle"]') + write(
        tmp_path, "middle", requires='["test.nowhere@^3"]'
    )
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        waiting = await mesh.until(
            lambda hosts: all(state_of(host) == "HANDSHAKING" and host.missing for host in hosts.values())
        )
        fault = await mesh.fails("LoadPlugins", pb.LoadPluginsRequest(names=["top"]))

    assert waiting["middle-1"].reason == "waits for plugin test.nowhere ^3"
    assert list(waiting["top-1"].missing) == ["test.middle"]
    assert isinstance(fault, DependencyMissing)
    assert fault.metadata["path"] == "test.top -> test.middle -> plugin test.nowhere ^3"
    assert mesh.notes() == []


async def test_a_circle_is_named_with_its_path(tmp_path: Path, registry: Serving) -> None:
    configuration = (
        write(tmp_path, "a", requires='["test.b"]')
        + write(tmp_path, "b", requires='["test.c"]')
        + write(tmp_path, "c", requires='["test.a"]')
        + write(tmp_path, "alone")
    )
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        hosts = await mesh.until(
            lambda hosts: state_of(hosts["alone-1"]) == "READY" and "circle" in hosts["a-1"].reason
        )
        fault = await mesh.fails("LoadPlugins", pb.LoadPluginsRequest(names=["b"]))
        notes = mesh.notes()

    assert isinstance(fault, DependencyCycle)
    path = fault.metadata["path"].split(" -> ")
    assert path[0] == path[-1]
    assert sorted(path[1:]) == ["test.a", "test.b", "test.c"]
    assert {state_of(hosts[name]) for name in ("a-1", "b-1", "c-1")} == {"HANDSHAKING"}
    assert notes == ["start test.alone"]


async def test_a_circle_through_something_optional_is_broken_there(tmp_path: Path, registry: Serving) -> None:
    configuration = write(tmp_path, "a", requires='["test.b"]') + write(
        tmp_path, "b", requires='[Requires(plugin="test.a", optional=True)]'
    )
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        await mesh.in_state(a_1="READY", b_1="READY")

    assert mesh.notes()[:2] == ["start test.b", "start test.a"]


async def test_what_needs_a_plugin_keeps_it_from_being_unloaded_unless_it_goes_first(
    tmp_path: Path, registry: Serving
) -> None:
    configuration = (
        write(tmp_path, "ground")
        + write(tmp_path, "middle", requires='["test.ground"]')
        + write(tmp_path, "top", requires='["test.middle"]')
    )
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        await mesh.in_state(ground_1="READY", middle_1="READY", top_1="READY")
        fault = await mesh.fails("UnloadPlugin", pb.UnloadPluginRequest(name="ground"))
        answer = await mesh.ask("UnloadPlugin", pb.UnloadPluginRequest(name="ground", cascade=True))
        unloaded = await mesh.hosts()
        loaded = await mesh.ask("LoadPlugins", pb.LoadPluginsRequest(names=["top"]))
        again = await mesh.ask("LoadPlugins", pb.LoadPluginsRequest(names=["top"]))

    assert isinstance(fault, DependentsLive)
    assert fault.metadata["dependents"] == "middle, top"
    assert list(answer.stopped) == ["top", "middle", "ground"]
    assert mesh.notes()[3:6] == ["stop test.top", "stop test.middle", "stop test.ground"]
    assert {state_of(host) for host in unloaded.values()} == {"DISABLED"}
    assert [(one.name, one.started) for one in loaded.plugins] == [("ground", True), ("middle", True), ("top", True)]
    assert [one.started for one in again.plugins] == [False, False, False]


async def test_concurrent_loads_share_one_start(tmp_path: Path, registry: Serving) -> None:
    async with supervised(tmp_path, registry.address, write(tmp_path, "ground")) as mesh:
        await mesh.in_state(ground_1="READY")
        await mesh.ask("UnloadPlugin", pb.UnloadPluginRequest(name="ground"))
        answers = await asyncio.gather(
            *(mesh.ask("LoadPlugins", pb.LoadPluginsRequest(names=["ground"])) for _ in range(5))
        )

    assert sum(one.started for answer in answers for one in answer.plugins) == 1
    assert mesh.notes().count("start test.ground") == 2


async def test_a_load_that_fails_stops_only_what_it_has_started(tmp_path: Path, registry: Serving) -> None:
    fails = "if (Path(os.environ['NOTES']).parent / 'broken').exists(): raise RuntimeError('no database')"
    configuration = (
        write(tmp_path, "kept")
        + write(tmp_path, "ground")
        + write(tmp_path, "middle", requires='["test.ground", "test.kept"]')
    )
    source = (tmp_path / "middle.py").read_text()
    (tmp_path / "middle.py").write_text(source.replace('note("start', f'{fails}\n        note("start'))
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        kept = (await mesh.in_state(kept_1="READY", ground_1="READY", middle_1="READY"))["kept-1"].pid
        await mesh.ask("UnloadPlugin", pb.UnloadPluginRequest(name="ground", cascade=True))
        (tmp_path / "broken").touch()
        before = len(mesh.notes())
        load = pb.LoadPluginsRequest(names=["middle"])
        faults = await asyncio.gather(mesh.fails("LoadPlugins", load), mesh.fails("LoadPlugins", load))
        hosts = await mesh.hosts()

    assert all(isinstance(fault, LoadFailed) for fault in faults)
    assert all("RuntimeError: no database" in fault.metadata["cause"] for fault in faults)
    assert {fault.metadata["name"] for fault in faults} == {"middle"}
    assert "INIT" in {fault.metadata["phase"] for fault in faults}
    stopped = ", ".join(fault.metadata["stopped"] for fault in faults if fault.metadata["stopped"])
    assert sorted(stopped.split(", ")) == ["ground", "middle"]  # each by the call that had started it
    assert mesh.notes()[before : before + 2] == ["start test.ground", "stop test.ground"]
    assert (state_of(hosts["kept-1"]), hosts["kept-1"].pid) == ("READY", kept)


async def test_a_plugin_of_which_nobody_knows_is_refused_with_the_names_that_are_known(
    tmp_path: Path, registry: Serving
) -> None:
    async with supervised(tmp_path, registry.address, write(tmp_path, "ground")) as mesh:
        fault = await mesh.fails("LoadPlugins", pb.LoadPluginsRequest(names=["grund"]))

    assert isinstance(fault, PluginNotConfigured)
    assert fault.metadata == {"name": "grund", "known": "ground"}


async def test_what_becomes_of_a_plugin_that_loses_another_is_said_for_each_edge(
    tmp_path: Path, registry: Serving
) -> None:
    def needing(name: str, on_loss: str) -> str:
        return write(tmp_path, name, requires=f'[Requires(plugin="test.ground", on_loss="{on_loss}")]')

    configuration = (
        write(
            tmp_path,
            "ground",
            body="""
            @operation
            async def pid(self) -> int:
                return os.getpid()
            """,
        )
        + needing("careless", "ignore")
        + needing("careful", "degrade")
        + needing("strict", "stop")
    )
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        before = await mesh.in_state(ground_1="READY", careless_1="READY", careful_1="READY", strict_1="READY")
        (tmp_path / "ground.py").rename(tmp_path / "away.py")
        kill(before["ground-1"].pid)
        lost = await mesh.in_state(careless_1="READY", careful_1="DEGRADED", strict_1="STOPPED")
        (tmp_path / "away.py").rename(tmp_path / "ground.py")
        back = await mesh.in_state(ground_1="READY", careless_1="READY", careful_1="READY", strict_1="READY")

    assert lost["strict-1"].reason.startswith("test.ground is lost; it starts again when that is back")
    assert list(lost["careful-1"].missing) == ["test.ground"]
    assert back["careless-1"].pid == before["careless-1"].pid
    assert back["careful-1"].pid == before["careful-1"].pid
    assert back["strict-1"].pid != before["strict-1"].pid
