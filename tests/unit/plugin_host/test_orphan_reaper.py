import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from forgemesh.plugin_host.supervisor.processes.linux.orphan_reaper import reaping_orphans
from forgemesh.plugin_host.supervisor.processes.linux.orphan_reaper_program import guard
from forgemesh.plugin_host.supervisor.processes.linux.process_table import start_time_of
from tests.mesh.processes import alive, eventually

PATIENCE = 180.0


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        yield process
        process.kill()


def test_who_is_named_is_ended_at_the_end(sleeper: subprocess.Popen[bytes]) -> None:
    guard([f"+ {sleeper.pid} {start_time_of(sleeper.pid)} 0\n"])

    assert sleeper.wait(PATIENCE) == -9


def test_who_has_ended_before_and_whoever_has_his_id_now_is_left_alone(sleeper: subprocess.Popen[bytes]) -> None:
    guard([f"+ {sleeper.pid} {start_time_of(sleeper.pid)} 0\n", f"- {sleeper.pid} 0 0\n"])
    guard([f"+ {sleeper.pid} 1 0\n"])

    assert sleeper.poll() is None


def test_an_orphan_reaper_that_is_told_of_every_end_ends_nobody(sleeper: subprocess.Popen[bytes]) -> None:
    with reaping_orphans() as orphan_reaper:
        orphan_reaper.watch(sleeper.pid, start_time_of(sleeper.pid), mark=0, patient=False)
        orphan_reaper.release(sleeper.pid)

    assert sleeper.poll() is None


def test_an_orphan_reaper_whose_supervisor_goes_away_ends_those_that_are_left(sleeper: subprocess.Popen[bytes]) -> None:
    with reaping_orphans() as orphan_reaper:
        orphan_reaper.watch(sleeper.pid, start_time_of(sleeper.pid), mark=0, patient=False)

    assert sleeper.wait(PATIENCE) == -9


async def test_who_ends_by_itself_leaves_nothing_that_it_has_started(tmp_path: Path) -> None:
    child = tmp_path / "child"
    script = f"sleep 600 & echo $! >{child}; exec sleep 0.3"
    with subprocess.Popen(["sh", "-c", script], start_new_session=True) as process:
        reap = threading.Thread(target=process.wait)
        reap.start()
        guard([f"~ {process.pid} {start_time_of(process.pid)} 0\n"], patience=5.0)
        reap.join()

    async def gone() -> bool:
        return not alive(int(child.read_text()))

    assert process.returncode == 0
    await eventually(gone)
