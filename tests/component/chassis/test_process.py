import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from forgemesh.chassis.stop_signals import EXIT_STUCK

PATIENCE = 180.0

PROGRAM = """
import asyncio, os, sys, time
from dataclasses import dataclass
from forgemesh.chassis.health import PortInUse
from forgemesh.chassis.process import CannotStart, tell_ready
from forgemesh.chassis.service import ServiceSettings, service_main
from forgemesh.faults.service import StoreUnavailable

@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(ServiceSettings):
    listen: str = "127.0.0.1:1"
    health_listen: str = "127.0.0.1:2"
    metrics_listen: str = ""
    mood: str = "well"
    stones: int = 2

class Tired(CannotStart):
    exit_code = 7

TROUBLES = {
    "port": PortInUse("127.0.0.1:7401"),
    "store": StoreUnavailable("mill.db", "another process has it open", "stop that one"),
    "system": OSError(28, "No space left on device"),
    "tired": Tired("the mill is tired"),
    "bug": ValueError("a stone is loose"),
}

async def run(settings, measured, stop):
    if settings.mood in TROUBLES:
        raise TROUBLES[settings.mood]
    tell_ready(address="127.0.0.1:7401", reflection=settings.reflection, stones=settings.stones)
    if settings.mood == "hanging":
        time.sleep(86_400)
    await stop.wait()
    told_to_children = [name for name in os.environ if name.endswith("_FD")]
    print(*told_to_children, "orphaned" if stop.orphaned else "stopped", flush=True)

service_main(Settings, "mill", run)
"""


@contextmanager
def mill(*arguments: str, parent: int = -1, **settings: str) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """The program as a process, and the pipe on which it says that it is ready."""
    reading, writing = os.pipe()
    environment = {**os.environ, "FORGEMESH_READY_FD": str(writing)}
    environment |= {f"FORGEMESH_MILL_{name.upper()}": value for name, value in settings.items()}
    passed = [writing]
    if parent != -1:
        environment["FORGEMESH_PARENT_FD"] = str(parent)
        passed.append(parent)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        env=environment,
        pass_fds=passed,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    with os.fdopen(reading) as ready:
        try:
            yield process, ready
        finally:
            process.kill()
            process.communicate()


def outcome(*arguments: str, **settings: str) -> tuple[int, str]:
    """Exit code and stderr of a mill that does not get ready."""
    with mill(*arguments, parent=-1, **settings) as (process, ready):
        assert ready.readline() == ""
        _, err = process.communicate(timeout=PATIENCE)
        return process.returncode, err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well(number: signal.Signals) -> None:
    with mill() as (process, ready):
        ready.readline()
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)

    assert (process.returncode, out, err) == (0, "stopped\n", "")


def test_it_says_on_its_pipe_that_it_is_ready_and_closes_that() -> None:
    with mill(stones="3") as (_, ready):
        facts = json.loads(ready.readline())
        rest = ready.read()

    assert facts == {"address": "127.0.0.1:7401", "reflection": False, "stones": 3}
    assert rest == ""


def test_it_ends_when_its_parent_is_gone() -> None:
    childs_end, parents_end = os.pipe()
    with mill(parent=childs_end) as (process, ready):
        os.close(childs_end)
        ready.readline()
        assert process.poll() is None
        os.close(parents_end)
        out, err = process.communicate(timeout=PATIENCE)

    assert (process.returncode, out) == (0, "orphaned\n")
    assert json.loads(err)["message"] == "the parent process is gone, stopping"


def test_it_ends_when_its_parent_is_gone_although_its_loop_hangs() -> None:
    childs_end, parents_end = os.pipe()
    with mill(parent=childs_end, mood="hanging") as (process, ready):
        os.close(childs_end)
        ready.readline()
        os.close(parents_end)
        process.communicate(timeout=PATIENCE)

    assert process.returncode == EXIT_STUCK


def test_it_runs_without_anybody_who_wants_to_know() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FORGEMESH_")}
    with subprocess.Popen([sys.executable, "-c", PROGRAM.replace("await stop.wait()", "")], env=environment) as process:
        assert process.wait(PATIENCE) == 0


def test_bad_settings_are_told_together_with_exit_code_2() -> None:
    code, err = outcome(stones="many", mod="well")

    assert code == 2
    assert err.splitlines()[0] == "error: the settings are not valid:"
    assert "FORGEMESH_MILL_STONES" in err
    assert "unknown setting, did you mean 'mood'?" in err
    assert "Traceback" not in err


def test_an_open_listener_is_refused_with_exit_code_2() -> None:
    code, err = outcome(listen="0.0.0.0:7401")

    assert code == 2
    assert "say --insecure" in err


def test_a_config_file_that_is_not_there_is_told_with_exit_code_2(tmp_path: Path) -> None:
    code, err = outcome("--config", str(tmp_path / "none.toml"))

    assert code == 2
    assert "none.toml" in err


@pytest.mark.parametrize(
    ("mood", "exit_code", "sentence"),
    [
        ("port", 1, "error: cannot listen on 127.0.0.1:7401: the port is in use"),
        ("store", 1, "error: the database mill.db cannot be used: another process has it open"),
        ("system", 1, "error: [Errno 28] No space left on device"),
        ("tired", 7, "error: the mill is tired"),
    ],
)
def test_what_keeps_it_from_starting_is_one_sentence(mood: str, exit_code: int, sentence: str) -> None:
    code, err = outcome(mood=mood)

    assert code == exit_code
    assert err.startswith(sentence)
    assert len(err.splitlines()) == 1


def test_a_bug_shows_its_traceback() -> None:
    code, err = outcome(mood="bug")

    assert code == 1
    assert "Traceback" in err
    assert "ValueError: a stone is loose" in err


def test_switches_win_over_file_and_environment(tmp_path: Path) -> None:
    file = tmp_path / "forgemesh.toml"
    file.write_text("[mill]\nreflection = false\nstones = 4\ninsecure = false\n")

    with mill("--config", str(file), "--reflection", "--insecure", listen="0.0.0.0:7401") as (_, ready):
        facts = json.loads(ready.readline())

    assert (facts["reflection"], facts["stones"]) == (True, 4)
