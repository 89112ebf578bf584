"""Somebody new who types a page of the documentation from top to bottom: every command, every file, every output."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.mesh.up_process import Up, Workplace, going_up

BLOCK = re.compile(r"(?:`([\w./]+)`:\n\n)?^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
EXITS = re.compile(r"\s*# exits with (\d+)$")
UP = "forgemesh up --reload"


@contextlib.contextmanager
def empty_place(folder: Path) -> Iterator[Workplace]:
    """A folder in which nothing is, with forgemesh on the path; nothing may be left running."""
    place = Workplace(folder, empty=True)
    place.environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    yield place
    assert place.left_behind() == []


def fits(expected: str, line: str) -> bool:
    """Whether a line says what the page shows; "…" stands for anything, and the width of a gap does not count."""
    pattern = ".*".join(re.escape(" ".join(part.split())) for part in expected.split("…"))
    return re.search(pattern, " ".join(line.split())) is not None


class Newcomer:
    """Reads the page, and does what it says; `typed` is every command, in order."""

    def __init__(self, place: Workplace, mesh: contextlib.ExitStack) -> None:
        self.place = place
        self.typed: list[str] = []
        self._mesh = mesh
        self._up: Up | None = None
        self._output: str | None = None

    def follow(self, page: str) -> None:
        """From top to bottom."""
        file = ""
        for named, language, text in BLOCK.findall(page):
            file = named or file
            self._read(file, language, text)

    def _read(self, file: str, language: str, text: str) -> None:
        match language:
            case "sh":
                self._output = "".join(self._type(line) for line in text.splitlines())
            case "text":
                self._compare(text.splitlines())
            case "diff":
                self._change(self.place.folder / file, text.splitlines())
            case _:
                self._save(self.place.folder / file, text)

    def _type(self, line: str) -> str:
        self.typed.append(line)
        if line == UP:
            self._up = self._mesh.enter_context(going_up(self.place, "--reload"))
            self._up.await_talk("a plugin is replaced when its source changes")
            return ""
        if line.startswith("cd "):
            self.place.folder /= line.removeprefix("cd ")
            return ""
        expected = EXITS.search(line)
        ran = subprocess.run(
            ["bash", "-c", EXITS.sub("", line)],
            cwd=self.place.folder,
            env=self.place.environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        said = ran.stderr + ran.stdout
        assert ran.returncode == (int(expected[1]) if expected else 0), f"{line}\n{said}"
        return said

    def _compare(self, expected: list[str]) -> None:
        """With what the last commands printed, or, after a change of a file, with what the mesh's terminal says."""
        if self._output is None:
            assert self._up is not None
            for line in expected:
                heard = self._up.await_talk(line.partition("…")[0].strip())
                assert fits(line, heard[-1]), heard
            return
        lines = self._output.splitlines()
        for line in expected:
            assert any(fits(line, one) for one in lines), f"{line!r} is not in\n{self._output}"

    def _change(self, file: Path, difference: list[str]) -> None:
        removed, added = ("\n".join(line[1:] for line in difference if line[0] == sign) for sign in "-+")
        text = file.read_text()
        assert removed in text
        self._save(file, text.replace(removed, added))

    def _save(self, file: Path, text: str) -> None:
        beside = file.with_suffix(".new")
        beside.write_text(text)
        beside.rename(file)
        self._output = None
