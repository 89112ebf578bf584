"""`forgemesh up` and `forgemesh down`: the life of a local mesh, every process real."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mesh.up_process import FORGEMESH, Up, Workplace, await_end, await_file, going_up

pytestmark = pytest.mark.mesh

SERVICES = {"traces", "registry", "balancer", "supervisor", "orchestrator"}
FREE_PORTS = "\n".join(
    f'[{name}]\nlisten = "127.0.0.1:0"\nhealth_listen = "127.0.0.1:0"\n'
    for name in ("traces", "balancer", "supervisor")
)
ANY_PORTS = "\n".join(
    f'[{name}]\nlisten = "127.0.0.1:0"\nhealth_listen = "127.0.0.1:0"\n'
    for name in ("traces", "supervisor", "orchestrator", "registry")
)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    workplace = Workplace(tmp_path)
    yield workplace
    assert workplace.left_behind() == []


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A mesh for tests that leave it as they found it."""
    place = Workplace(tmp_path_factory.mktemp("standing"))
    with going_up(place) as mesh:
        yield mesh
    assert place.left_behind() == []


def test_a_second_mesh_in_the_same_folder_is_refused_and_the_first_lives_on(standing: Up) -> None:
    second = standing.place.forgemesh("up", "--any-port")
    status = standing.place.forgemesh("status")

    assert second.returncode == 4
    assert second.stderr.startswith(
        f"error: a mesh runs in .forgemesh already (pid {standing.process.pid}, orchestrator at {standing.address})"
    )
    assert status.returncode == 0


def test_status_tells_what_is_left_while_the_orchestrator_does_not_answer(standing: Up) -> None:
    orchestrator = standing.facts()["services"]["orchestrator"]["pid"]
    os.kill(orchestrator, signal.SIGSTOP)
    try:
        status = json.loads(standing.place.forgemesh("status", "-o", "json").stdout)
    finally:
        os.kill(orchestrator, signal.SIGCONT)

    assert {row["service"]: row["health"] for row in status["services"]} == {
        "orchestrator": "UNREACHABLE",
        "balancer": "SERVING",
        "registry": "SERVING",
        "supervisor": "SERVING",
        "traces": "SERVING",
    }
    assert [row["health"] for row in status["instances"]] == ["SERVING"]


def test_a_service_that_dies_comes_back_at_the_same_address(standing: Up) -> None:
    before = standing.facts()["services"]["registry"]
    os.kill(before["pid"], signal.SIGKILL)
    standing.await_talk("was killed by SIGKILL; starting it again")
    standing.await_talk("registry runs again")
    after = standing.facts()["services"]["registry"]

    assert after["pid"] != before["pid"]
    assert (after["address"], after["health_address"]) == (before["address"], before["health_address"])
    assert standing.place.forgemesh("status").returncode == 0


def test_every_service_is_a_process_and_none_outlives_the_mesh(place: Workplace) -> None:
    with going_up(place) as mesh:
        facts, pids = mesh.facts(), mesh.pids()
        assert set(facts["services"]) == SERVICES
        assert set(pids) == {"up", "greeter-1", *SERVICES}
        assert len(set(pids.values())) == 7
        assert {os.getsid(pid) for name, pid in pids.items() if name in SERVICES} == {
            facts["services"][name]["pid"] for name in SERVICES
        }

        assert mesh.stop() == 0

    assert await_end(pids, within=0) == []
    kept = {path.name for path in place.data.iterdir()}
    assert kept == {"logs", "supervisor.key", "balancer.db", "traces.db", "registry.db", "orchestrator.db"}


def test_it_says_what_runs_and_what_to_type_next(place: Workplace) -> None:
    with going_up(place) as mesh:
        talk = "".join(mesh.await_talk("Ctrl-C stops the mesh"))
        mesh.stop()
        assert mesh.process.stdout is not None
        table = mesh.process.stdout.read().decode().splitlines()

    assert "forgemesh run" in talk
    assert [line.split()[0] for line in table] == ["PROCESS", *sorted(SERVICES), "greeter-1"]
    assert all("ready" in line for line in table[1:])


def test_when_it_is_killed_at_work_nothing_outlives_it(place: Workplace) -> None:
    command = [*FORGEMESH, "run", "linger.yaml", "-i", "seconds=30"]
    with going_up(place) as mesh:
        pids = mesh.pids()
        with subprocess.Popen(command, cwd=place.folder, env=place.environment, stderr=subprocess.PIPE) as caller:
            assert caller.stderr is not None
            while b"greeter-1" not in (line := caller.stderr.readline()):
                assert line, "it ended before the first step"
            os.kill(mesh.process.pid, signal.SIGKILL)
            survivors = await_end(pids)
            caller.kill()

    assert survivors == []


def test_when_its_parent_is_gone_it_stops(place: Workplace) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    with going_up(place, settings={"FORGEMESH_PARENT_FD": str(reading)}, inherit=(reading,)) as mesh:
        os.close(reading)
        os.close(writing)

        assert mesh.process.wait(180) == 0


def test_down_stops_the_mesh_and_waits_for_it(place: Workplace) -> None:
    with going_up(place) as mesh:
        pids = mesh.pids()
        down = place.forgemesh("down")
        again = place.forgemesh("down")

        assert (down.returncode, again.returncode) == (0, 3)
        assert await_end(pids) == []
        assert "error: no mesh runs in .forgemesh" in again.stderr


def test_ctrl_c_stops_it_well(place: Workplace) -> None:
    with going_up(place) as mesh:
        mesh.process.send_signal(signal.SIGINT)

        assert mesh.process.wait(180) == 0


def test_interrupted_while_it_starts_it_leaves_nothing(place: Workplace) -> None:
    with subprocess.Popen(
        [*FORGEMESH, "up", "--any-port"], cwd=place.folder, env=place.environment, start_new_session=True
    ) as process:
        logs = place.data / "logs"
        await_file(logs / "supervisor.log")
        process.send_signal(signal.SIGINT)

        assert process.wait(180) == 0
    assert not (place.data / "mesh.json").exists()


def test_what_was_started_in_it_is_there_after_a_restart(place: Workplace) -> None:
    with going_up(place):
        first = place.forgemesh("run", "hello.yaml", "-i", "name=Ada", "--execution-id", "x1")
    with going_up(place):
        shown = place.forgemesh("execution", "watch", "x1")

    assert first.stdout == shown.stdout == '{"text":"Hello, Ada!"}\n'


def test_a_plugin_that_does_not_load_is_named_and_the_rest_serves(place: Workplace) -> None:
    with (place.folder / "forgemesh.toml").open("a") as config:
        config.write('\n[plugins.broken]\nload = "nowhere:Nothing"\n')
    with going_up(place) as mesh:
        talk = "".join(mesh.await_talk("its whole log:"))
        status = place.forgemesh("status")

        assert mesh.said["not_ready"] == ["broken-1"]
        assert "broken-1 is not ready" in talk
        assert "No module named 'nowhere'" in talk
        assert status.returncode == 1
        assert place.forgemesh("run", "hello.yaml", "-i", "name=Ada").returncode == 0


def test_a_port_in_use_is_one_sentence_and_starts_nothing(place: Workplace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        place.environment["FORGEMESH_REGISTRY_LISTEN"] = address
        refused = place.forgemesh("up", "--config", write(place, FREE_PORTS))

    assert refused.returncode == 5
    assert f"error: service 'registry' cannot listen on {address}: address already in use\n" in refused.stderr
    assert not (place.data / "registry.db").exists()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[plugins", "not valid TOML"),
        ("[plugin.greeter]\n", "unknown entries: plugin"),
        ('[plugins.greeter]\nload = "greeter_plugin"\n', "plugins.greeter"),
        ('[plugins.greeter]\nload = "greeter_plugin:Greeter"\nreplicas = 2\n', "replicas"),
        ('[plugins.greeter]\nload = "greeter_plugin:Greeter"\n[registry]\nlease = 1000000\n', "lease"),
        (
            '[plugins.greeter]\nload = "greeter_plugin:Greeter"\n[balancer]\nlisten = "0.0.0.0:0"\n' + ANY_PORTS,
            "insecure",
        ),
    ],
)
def test_a_configuration_that_is_not_valid_is_one_sentence(place: Workplace, text: str, complaint: str) -> None:
    refused = place.forgemesh("up", "--config", write(place, text), *ports_for(text))

    assert refused.returncode == 2
    assert refused.stderr.count("error: ") == 1
    assert complaint in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (place.data / "mesh.json").exists()


def test_a_configuration_that_is_not_there_is_one_sentence(place: Workplace) -> None:
    refused = place.forgemesh("up", "--config", "nowhere.toml")

    assert refused.returncode == 2
    assert refused.stderr == "error: cannot read nowhere.toml: No such file or directory\n"


def test_a_data_directory_that_cannot_be_used_is_one_sentence(place: Workplace) -> None:
    refused = place.forgemesh("up", "--any-port", "--data-dir", "forgemesh.toml")

    assert refused.returncode == 1
    assert refused.stderr.startswith("error: the data directory forgemesh.toml cannot be used: ")
    assert "Traceback" not in refused.stderr


def write(place: Workplace, text: str) -> str:
    (place.folder / "other.toml").write_text(text)
    return "other.toml"


def ports_for(text: str) -> tuple[str, ...]:
    """A fixed port is wanted only where the configuration names one."""
    return () if "listen" in text else ("--any-port",)
