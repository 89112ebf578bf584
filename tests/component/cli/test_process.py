"""How `forgemesh up` starts one service: the real trace store, as a process."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from forgemesh.cli.mesh.plan import TRACES, Plan
from forgemesh.cli.mesh.process import DidNotStart, ServiceProcess, launch, refuse_taken
from forgemesh.cli.problem import Problem


@pytest.fixture
def alive() -> Iterator[tuple[int, int]]:
    """The two ends of the pipe that says that we live."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    try:
        os.close(writing)
    except OSError:
        pass


async def start(data: Path, alive: tuple[int, int], **settings: str) -> ServiceProcess:
    plan = Plan(data=data, tables={}, environment=dict(os.environ) | settings, any_port=True)
    return await launch(
        TRACES,
        arguments=plan.arguments(),
        environment=plan.settings(TRACES, plan.listens(TRACES), {}),
        log=data / "traces.log",
        alive=alive[0],
    )


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


async def test_a_ready_service_says_where_it_listens(tmp_path: Path, alive: tuple[int, int]) -> None:
    running = await start(tmp_path, alive)
    with socket.create_connection(("127.0.0.1", port_of(running.address))):
        pass

    assert await running.stop()
    assert running.process.returncode == 0
    assert (tmp_path / "traces.log").exists()


async def test_a_service_is_in_a_session_of_its_own(tmp_path: Path, alive: tuple[int, int]) -> None:
    running = await start(tmp_path, alive)

    assert os.getsid(running.pid) == running.pid
    await running.stop()


async def test_a_service_ends_when_we_are_gone(tmp_path: Path, alive: tuple[int, int]) -> None:
    running = await start(tmp_path, alive)
    os.close(alive[1])

    assert await running.process.wait() == 0


async def test_a_service_that_was_killed_can_be_stopped_again(tmp_path: Path, alive: tuple[int, int]) -> None:
    running = await start(tmp_path, alive)
    os.kill(running.pid, signal.SIGKILL)

    assert await running.process.wait() == -signal.SIGKILL
    assert await running.stop()


async def test_a_wrong_setting_is_told_in_the_services_own_words(tmp_path: Path, alive: tuple[int, int]) -> None:
    with pytest.raises(DidNotStart) as refused:
        await start(tmp_path, alive, FORGEMESH_TRACES_GRACE="soon")

    assert refused.value.exit_code == 2
    assert "FORGEMESH_TRACES_GRACE" in refused.value.as_text()
    assert refused.value.as_text().startswith("error: service 'traces' does not start: the settings are not valid")


async def test_an_unusable_database_is_told_in_the_services_own_words(tmp_path: Path, alive: tuple[int, int]) -> None:
    (tmp_path / "traces.db").mkdir()

    with pytest.raises(DidNotStart) as refused:
        await start(tmp_path, alive)

    assert refused.value.exit_code == 1
    assert "traces.db" in refused.value.as_text()
    assert "Traceback" not in refused.value.as_text()


async def test_only_what_this_start_wrote_is_told(tmp_path: Path, alive: tuple[int, int]) -> None:
    (tmp_path / "traces.log").write_text("error: from long ago\n")

    with pytest.raises(DidNotStart) as refused:
        await start(tmp_path, alive, FORGEMESH_TRACES_GRACE="soon")

    assert "long ago" not in refused.value.as_text()


def test_a_port_in_use_is_found_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(
            Problem, match=f"service 'traces' cannot listen on {address}: address already in use"
        ) as refused:
            refuse_taken(TRACES, ["127.0.0.1:0", address])

    assert refused.value.exit_code == 5
    assert "--any-port" in refused.value.as_text()
