"""A bug of the supervisor in one host's life, in the real process: it is logged, and the host comes back."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mesh.up_process import Workplace, await_end, going_up

pytestmark = pytest.mark.mesh

PLANT = """
import signal

def plant(*_):
    from forgemesh.plugin_host.supervisor.fleet import fleet
    from forgemesh.plugin_host.supervisor.hosts import host_runner

    for owner, name in ((host_runner.HostRunner, "_conclude"), (fleet.Fleet, "_decide_anew")):
        def planted(*given, _owner=owner, _name=name, _real=getattr(owner, name)):
            setattr(_owner, _name, _real)
            raise LookupError(f"planted in {_name}")
        setattr(owner, name, planted)

signal.signal(signal.SIGUSR1, plant)
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    (tmp_path / "plants").mkdir()
    (tmp_path / "plants" / "sitecustomize.py").write_text(PLANT)
    workplace = Workplace(tmp_path)
    workplace.environment["PYTHONPATH"] = str(tmp_path / "plants")
    yield workplace
    assert workplace.left_behind() == []


def test_a_host_whose_life_a_bug_interrupts_is_started_again(place: Workplace) -> None:
    with going_up(place) as mesh:
        before = mesh.pids()
        os.kill(before["supervisor"], signal.SIGUSR1)
        os.kill(before["greeter-1"], signal.SIGKILL)
        assert await_end({"greeter-1": before["greeter-1"]}) == []

        answer = place.forgemesh("run", "hello.yaml", "-i", "name=Ada")

        assert answer.stdout == '{"text":"Hello, Ada!"}\n'
        assert mesh.pids()["supervisor"] == before["supervisor"]
        log = (place.data / "logs" / "supervisor.log").read_text()
        assert "a process of greeter-1 was ended by a bug of the supervisor" in log
        assert "what the hosts are to do was not decided, which is tried again" in log
