"""Whatever others write, and wherever a command shows it: a terminal shows it and obeys nothing in it."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from forgemesh.api.orchestrator.v1.execution_pb2 import ExecutionStatus, StepStatus
from forgemesh.cli.main import _COMMANDS, main
from tests.component.cli.hostile_mesh import EVIL, FORGED, SIGN, Mood, hostile_mesh
from tests.component.cli.typed import Keyboard, Screen

ANSWERS = Mood()
FAILS = Mood(execution=ExecutionStatus.EXECUTION_STATUS_FAILED, step=StepStatus.STEP_STATUS_INCIDENT)
REFUSES = Mood(refuses=True)
MOODS = {"answers": ANSWERS, "fails": FAILS, "refuses": REFUSES}

_OURS = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[hl]|2K|1A)|\r")
"""What rich and we write on a screen: colours, and the line that says what is under way."""
_THEIRS = re.compile(r"\x1b\[(?:31m\x1b|31m\x9b|2J)")

MESH: dict[str, list[list[str]]] = {
    "status": [[]],
    "run": [[EVIL], [EVIL, "--detach"], ["workflow.yaml"]],
    "execution list": [[]],
    "execution show": [[EVIL]],
    "execution watch": [[EVIL]],
    "execution wait": [[EVIL], [EVIL, "--for", "paused"]],
    "execution result": [[EVIL]],
    "execution explain": [[EVIL]],
    "execution pause": [[EVIL], ["--all", "--yes"]],
    "execution resume": [[EVIL], ["--all", "--yes"]],
    "execution cancel": [[EVIL], ["--all", "--yes"]],
    "execution terminate": [[EVIL], ["--all", "--yes"]],
    "execution signal": [[EVIL, EVIL], ["--all", "--yes", EVIL]],
    "execution resolve": [[EVIL, EVIL], [EVIL, EVIL, "--action", "retry"]],
    "execution checkpoints": [[EVIL]],
    "execution fork": [[EVIL, "--from", EVIL]],
    "execution export": [[EVIL, "x.execution", "--force"], [EVIL, f"{EVIL}/x"]],
    "execution import": [["notes.txt"], [EVIL], [f"-{EVIL}"]],
    "execution delete": [[EVIL], ["--all", "--yes"]],
    "workflow register": [["workflow.yaml"], [EVIL]],
    "workflow validate": [["workflow.yaml"]],
    "workflow list": [[]],
    "workflow show": [[EVIL]],
    "schedule create": [[EVIL, EVIL, "--cron", "@daily"], [EVIL, EVIL, "--cron", EVIL]],
    "schedule list": [[]],
    "schedule show": [[EVIL]],
    "schedule pause": [[EVIL]],
    "schedule resume": [[EVIL]],
    "schedule trigger": [[EVIL]],
    "schedule backfill": [[EVIL, "--from", "2026-01-01", "--to", "2026-01-02"]],
    "schedule delete": [[EVIL]],
    "schedule preview": [[EVIL], [EVIL, "--after", EVIL]],
    "plugin list": [[]],
    "plugin resolve": [[EVIL], ["shop.stock"]],
    "plugin providers": [["shop.stock"]],
    "plugin quarantine": [[EVIL, EVIL, "--reason", EVIL]],
    "plugin release": [[EVIL, EVIL]],
    "plugin pin": [[EVIL, EVIL]],
    "plugin unpin": [[EVIL]],
    "plugin describe": [[EVIL]],
    "plugin call": [[f"{EVIL}/{EVIL}"], [f"{EVIL}/{EVIL}", "--instance", EVIL]],
    "plugin publish": [["broken:Broken"], ["noisy:Noisy", "--owner-key-file", EVIL]],
    "plugin serve": [["broken:Broken"]],
    "plugin hosts": [["--history"], [EVIL]],
    "plugin logs": [[], [EVIL]],
    "plugin load": [[EVIL]],
    "plugin unload": [[EVIL]],
    "plugin reload": [[EVIL]],
    "plugin scale": [[EVIL, "2"]],
    "plugin reset": [[EVIL]],
    "plugin configure": [[EVIL, "a=1"]],
    "circuit list": [[]],
    "circuit show": [[EVIL]],
    "circuit open": [[EVIL, "--reason", EVIL]],
    "circuit close": [[EVIL]],
    "circuit observe": [[EVIL]],
    "circuit reset": [[EVIL]],
    "circuit history": [[]],
    "pick": [[EVIL, "--explain"]],
    "policy show": [[EVIL], []],
    "policy set": [[EVIL, "--reset"]],
    "trace show": [[EVIL]],
    "trace list": [[]],
    "trace export": [[EVIL], [EVIL, "--format", "tree"], [EVIL, "--format", "chrome"]],
    "trace import": [[EVIL]],
    "xds bootstrap": [[EVIL], [f"-{EVIL}"], ["-", "--node-id", EVIL], ["-", "--server", EVIL]],
}
"""What is typed of each command that asks a mesh."""

_OPTIONS = ("--image", "--env", "--egress", "--secret", "--pull-secret", "--image-path", "--grace")

ALONE: dict[str, list[list[str]]] = {
    "init": [[EVIL]],
    "up": [["--config", "mesh.toml"], ["--config", EVIL]],
    "down": [["--data-dir", EVIL]],
    "plugin check": [["noisy:Noisy"], ["broken:Broken"]],
    "plugin new": [[EVIL], ["shop.stock", "--config", EVIL], ["shop.stock", "--language", "go", "--sdk", EVIL]],
    "execution replay": [[EVIL]],
    "k8s manifest": [["noisy:Noisy"], ["broken:Broken"], *(["noisy:Noisy", one, EVIL] for one in _OPTIONS)],
    "version": [[]],
}
"""The same of those that ask nobody."""

MAY_SHOW_NOTHING = {"version", "execution export", "plugin publish", "schedule preview"}
"""Where things go well, these tell nothing that others wrote."""
HAS_LINES = {"workflow show"}
"""What was written is lines itself."""


def _cases(commands: dict[str, list[list[str]]]) -> Iterator[Any]:
    for command, many in commands.items():
        for number, typed in enumerate(many, start=1):
            yield pytest.param(command, typed, id=f"{command} {number}")


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def all(self) -> str:
        return self.out + self.err


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files that others wrote, in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "FORGEMESH_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    evil = json.dumps(EVIL)
    Path("workflow.yaml").write_text(f"name: {evil}\n", encoding="utf-8")
    Path("notes.txt").write_text(EVIL, encoding="utf-8")
    Path("mesh.toml").write_text(f'{evil} = "x"\n'.replace("\\u007f", "\\u007F"), encoding="utf-8")
    Path("noisy.py").write_text(_NOISY.format(evil=ascii(EVIL)), encoding="utf-8")
    Path("broken.py").write_text(f"print({EVIL!a})\nraise RuntimeError({EVIL!a})\n", encoding="utf-8")
    return tmp_path


_NOISY = """
from forgemesh.plugin import operation, plugin

print({evil})

@plugin("shop.noisy", version="1.0.0", description={evil})
class Noisy:

    @operation(description={evil})
    def work(self) -> None:
        pass
"""


Typing = Callable[..., Said]


@pytest.fixture
def type_(monkeypatch: pytest.MonkeyPatch) -> Typing:
    """Runs a command in this process; on a screen if that is said."""

    def run(*words: str, screen: bool = False) -> Said:
        out, err = (Screen(), Screen()) if screen else (io.StringIO(), io.StringIO())
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        monkeypatch.setattr(sys, "stdin", Keyboard("y\n") if screen else io.StringIO())
        return Said(main(list(words)), out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="module", params=list(MOODS))
def mesh(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """The address of a hostile mesh, and its mood."""
    with hostile_mesh(MOODS[request.param]) as address:
        yield address, request.param


def test_every_command_is_walked() -> None:
    assert {words for words, _, _ in _COMMANDS} == MESH.keys() | ALONE.keys()


@pytest.mark.parametrize(("command", "typed"), list(_cases(MESH)))
def test_no_command_passes_on_what_a_mesh_writes(
    command: str, typed: list[str], mesh: tuple[str, str], type_: Typing
) -> None:
    address, mood = mesh
    words = [*command.split(), *typed, "--address", address]

    check_people(type_(*words), command)
    if mood in ("fails", "refuses"):
        check_people(type_(*words, "-v"), command, may_break=True)
    check_people(type_(*words, screen=True), command, on_screen=True, may_break=True)
    check_programs(type_(*words, "-o", "json"), lossless=mood != "refuses")


@pytest.mark.parametrize(("command", "typed"), list(_cases(ALONE)))
def test_no_command_passes_on_what_files_and_callers_write(command: str, typed: list[str], type_: Typing) -> None:
    words = [*command.split(), *typed]

    check_people(type_(*words), command)
    check_people(type_(*words, screen=True), command, on_screen=True, may_break=True)
    check_programs(type_(*words, "-o", "json"), lossless=False)


def check_people(said: Said, command: str, *, on_screen: bool = False, may_break: bool = False) -> None:
    """
    Nothing but what is printable and the ends of our own lines, and for all that the text is shown.

    A line may break inside of it where it is fitted to a screen, and in a traceback.
    """
    assert "a bug in forgemesh" not in said.all
    assert not _THEIRS.search(said.all)
    seen = _OURS.sub("", said.all) if on_screen else said.all
    assert sorted({one for one in seen if not one.isprintable()} - {"\n"}) == []
    assert may_break or command in HAS_LINES or not any(line.startswith(FORGED) for line in seen.split("\n"))
    assert SIGN in seen or command in MAY_SHOW_NOTHING


def check_programs(said: Said, *, lossless: bool) -> None:
    """JSON that is printable, and of which the data means exactly what was written."""
    assert sorted({one for one in said.all if not one.isprintable()} - {"\n"}) == []
    values = [json.loads(line) for line in said.all.split("\n") if line]
    assert values
    texts = list(_texts([json.loads(line) for line in said.out.split("\n") if line]))
    if lossless and any(SIGN in text for text in texts):
        assert any(EVIL in text for text in texts)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (text for pair in value.items() for one in pair for text in _texts(one))
    elif isinstance(value, list):
        yield from (text for one in value for text in _texts(one))
    elif isinstance(value, str):
        yield value
