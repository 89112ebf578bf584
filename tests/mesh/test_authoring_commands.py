"""What an author types at a running mesh, every process real."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.mesh.up_process import FORGEMESH, Up, Workplace, going_up

pytestmark = pytest.mark.mesh

DEADLINE = 180.0
HALTING = '''
import time
from pathlib import Path

from forgemesh.plugin import operation, plugin


@plugin("{name}", version="1.0.0")
class Halting:
    """Stands still."""

    @operation(timeout="60s")
    async def wait(self, file: str) -> bool:
        """Blocks its event loop until there is such a file."""
        Path(file + ".began").touch()
        while not Path(file).exists():
            time.sleep(0.01)
        return True

    @operation(timeout="60s")
    async def stop(self, file: str) -> int:
        """Stops at a breakpoint."""
        found = 41
        Path(file + ".began").touch()
        breakpoint()
        return found
'''


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    place = Workplace(tmp_path_factory.mktemp("author"))
    with going_up(place) as mesh:
        yield mesh
    assert place.left_behind() == []


def typed(mesh: Up, *words: str) -> subprocess.CompletedProcess[str]:
    return mesh.place.forgemesh("plugin", *words)


def value(mesh: Up, *words: str) -> Any:
    done = typed(mesh, *words, "-o", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def until(condition: Callable[[], Any]) -> Any:
    """What the condition returns once that is true; it asks other processes, which tell nobody."""
    end = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.05)
    return found


def test_a_call_prints_its_output_on_stdout_and_who_answered_on_stderr(mesh: Up) -> None:
    done = typed(mesh, "call", "greeter/greet", "name=Ada")

    assert (done.returncode, done.stdout) == (0, '{"text":"Hello, Ada!"}\n')
    assert done.stderr.startswith("✓ ")
    assert "greeter-1 1.0.0 · forgemesh trace show " in done.stderr


def test_a_call_is_one_trace_from_the_caller_into_the_plugin(mesh: Up) -> None:
    called = value(mesh, "call", "greeter/greet", "--input", '{"name": "Ada"}')

    shown = mesh.place.forgemesh("trace", "show", called["trace_id"])
    assert called["output"] == {"text": "Hello, Ada!"}
    assert shown.returncode == 0, shown.stderr
    assert [line.strip("└ ").split()[0] for line in shown.stdout.splitlines()] == ["call", "execute"]


def test_the_failure_of_a_call_is_its_reason_and_the_exit_code(mesh: Up) -> None:
    done = typed(mesh, "call", "greeter/greet", "name=")

    assert done.returncode == 1
    assert "error: greeter/greet failed with NO_NAME: there is nobody to greet\n  give a name\n" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["greeter/greet", "nam=Ada"], 2, "what it takes: forgemesh plugin describe greeter"),
        (["greeter/great"], 1, "it has: greet, linger"),
        (["greeter"], 2, "'greeter' is not PLUGIN/OPERATION"),
        (["stranger/greet"], 3, "no plugin 'stranger' was ever published\n  see forgemesh plugin list"),
        (["greter/greet"], 3, "did you mean greeter?"),
        (["greeter/greet", "name"], 2, "'name' is not key=value"),
        (["greeter/greet", "--instance", "greeter-9"], 3, "its instances: greeter-1"),
        (["greeter/linger", "seconds=60", "--timeout", "200ms"], 1, "give it more time with --timeout"),
    ],
)
def test_a_call_that_cannot_be_made_names_the_way_on(mesh: Up, words: list[str], code: int, said: str) -> None:
    done = typed(mesh, "call", *words)

    assert said in done.stderr
    assert (done.returncode, done.stdout) == (code, "")


def test_a_plugin_is_described_with_who_serves_it(mesh: Up) -> None:
    done = typed(mesh, "describe", "greeter")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("greeter 1.0.0   Greets.\n\n  greet(name: string) -> map of string\n")
    assert done.stdout.splitlines()[-1].split()[:3] == ["greeter-1", "1.0.0", "serving"]
    described = value(mesh, "describe", "greeter@1.0.0")
    assert described["versions"] == ["1.0.0"]
    assert [one["instance_id"] for one in described["instances"]] == ["greeter-1"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [("stranger", "no plugin 'stranger' was ever published"), ("greeter@9.9.9", "published: 1.0.0")],
)
def test_what_was_never_published_cannot_be_described(mesh: Up, asked: str, said: str) -> None:
    done = typed(mesh, "describe", asked)

    assert done.returncode == 3
    assert said in done.stderr


def test_a_check_compares_with_what_is_published(mesh: Up) -> None:
    same = typed(mesh, "check")
    assert (same.returncode, same.stderr) == (0, "\ngreeter is published as it is\n")

    text = (mesh.place.folder / "greeter_plugin.py").read_text()
    (mesh.place.folder / "changed.py").write_text(text.replace("name: str", "name: str, title: str"))
    changed = typed(mesh, "check", "changed:Greeter")
    assert changed.returncode == 4
    assert changed.stderr.endswith(
        "error: greeter 1.0.0 is published with another content\n"
        "  operation greet: parameter title: string is new\n"
        '  raise its version: version="2.0.0"\n'
    )

    (mesh.place.folder / "raised.py").write_text(text.replace('"1.0.0"', '"1.1.0"'))
    raised = value(mesh, "check", "raised:Greeter")
    assert raised["plugins"][0]["published"] == "NEW"


@dataclass
class Serving:
    """A running `forgemesh plugin serve`."""

    process: subprocess.Popen[bytes]
    said: list[str]

    def await_talk(self, text: str) -> str:
        assert self.process.stderr is not None
        while not self.said or text not in self.said[-1]:
            readable, _, _ = select.select([self.process.stderr], [], [], DEADLINE)
            line = self.process.stderr.readline().decode() if readable else ""
            assert line, f"it did not say {text!r}, but {self.said}"
            self.said.append(line)
        return self.said[-1]


@contextlib.contextmanager
def serving(mesh: Up, *words: str) -> Iterator[Serving]:
    process = subprocess.Popen(
        [*FORGEMESH, "plugin", "serve", *words],
        cwd=mesh.place.folder,
        env=mesh.place.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    )
    try:
        yield Serving(process, [])
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(DEADLINE)
        for stream in (process.stdin, process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def write_plugin(mesh: Up, module: str, name: str) -> str:
    (mesh.place.folder / f"{module}.py").write_text(HALTING.replace("{name}", name))
    return f"{module}:Halting"


def health_of(mesh: Up, plugin: str) -> str:
    instances = value(mesh, "describe", plugin)["instances"]
    return str(instances[0]["health"]) if instances else ""


def serves(mesh: Up, plugin: str) -> bool:
    return typed(mesh, "describe", plugin).returncode == 0 and health_of(mesh, plugin) == "HEALTH_SERVING"


@contextlib.contextmanager
def calling(mesh: Up, words: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [*FORGEMESH, "plugin", "call", *words],
        cwd=mesh.place.folder,
        env=mesh.place.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(DEADLINE)
        assert process.stdout is not None
        process.stdout.close()


def test_a_plugin_is_served_from_a_terminal_until_ctrl_c(mesh: Up) -> None:
    load = write_plugin(mesh, "foreground", "foreground")

    with serving(mesh, load) as host:
        said = host.await_talk("serves as")
        until(lambda: serves(mesh, "foreground"))
        file = mesh.place.folder / "go"
        file.touch()
        called = typed(mesh, "call", "foreground/wait", f"file={file}")
        host.process.send_signal(signal.SIGINT)

        assert said.startswith("foreground 1.0.0 serves as foreground-")
        assert (called.returncode, called.stdout) == (0, "true\n"), called.stderr
        host.await_talk("stopped")
        assert host.process.wait(DEADLINE) == 0
    until(lambda: not value(mesh, "describe", "foreground")["instances"])


def test_a_breakpoint_is_no_death(mesh: Up, tmp_path: Path) -> None:
    """Two plugins stand still in the same way; only the one without --debug is taken out."""
    waiting, stopped = tmp_path / "waiting", tmp_path / "stopped"
    with (
        serving(mesh, write_plugin(mesh, "plain", "halting.plain")) as plain,
        serving(mesh, write_plugin(mesh, "debugged", "halting.debugged"), "--debug") as debugged,
    ):
        plain.await_talk("serves as")
        debugged.await_talk("serves as")
        until(lambda: serves(mesh, "halting.plain") and serves(mesh, "halting.debugged"))
        with (
            calling(mesh, ["halting.debugged/stop", f"file={stopped}"]) as at_breakpoint,
            calling(mesh, ["halting.plain/wait", f"file={waiting}"]) as blocked,
        ):
            until(lambda: Path(f"{stopped}.began").exists() and Path(f"{waiting}.began").exists())
            until(lambda: health_of(mesh, "halting.plain") != "HEALTH_SERVING")

            assert health_of(mesh, "halting.debugged") == "HEALTH_SERVING"
            waiting.touch()
            assert debugged.process.stdin is not None
            debugged.process.stdin.write(b"found = 42\nc\n")
            assert blocked.communicate(timeout=DEADLINE)[0] == b"true\n"
            assert at_breakpoint.communicate(timeout=DEADLINE)[0] == b"42\n"


def test_what_cannot_be_served_is_told_before_anything_starts(mesh: Up) -> None:
    done = typed(mesh, "serve", "nowhere:Nothing")

    assert done.returncode == 2
    assert "error: nowhere:Nothing cannot be served\n  no module 'nowhere'" in done.stderr


def test_a_version_that_is_published_with_another_content_is_not_served(mesh: Up) -> None:
    text = (mesh.place.folder / "greeter_plugin.py").read_text()
    (mesh.place.folder / "other.py").write_text(text.replace("async def greet", "async def salute"))

    done = typed(mesh, "serve", "other:Greeter")

    assert done.returncode == 4
    assert 'raise its version: version="2.0.0"' in done.stderr


def test_without_a_mesh_it_says_how_to_start_one(tmp_path: Path) -> None:
    place = Workplace(tmp_path)

    done = place.forgemesh("plugin", "serve", "greeter_plugin:Greeter", "--address", "127.0.0.1:1")

    assert done.returncode == 5
    assert "start a mesh with `forgemesh up`" in done.stderr
