"""`forgemesh plugin new --language`, with tools that say that they have built something, or that they cannot."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

import pytest

from forgemesh.cli import project
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.language_skeleton import LANGUAGES
from forgemesh.cli.problem import Problem
from tests.component.cli.typed import Typed

TITLES: tuple[Literal["go", "java"], ...] = ("go", "java")


@pytest.fixture
def typed() -> Typed:
    return Typed("127.0.0.1:1")


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that succeed, the first on the PATH."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("go", "javac", "mvn"):
        tool(folder / name, "mkdir -p making repository")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def tool(file: Path, script: str) -> None:
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def new(folder: Path, typed: Typed, language: Literal["go", "java"], name: str = "shop.word-count") -> None:
    project.new(name, language=language, config=folder / "forgemesh.toml", line=typed.line())


@pytest.mark.parametrize("language", TITLES)
def test_a_project_is_made_around_it(
    tmp_path: Path, tools: Path, typed: Typed, language: Literal["go", "java"]
) -> None:
    new(tmp_path, typed, language)

    plugins = tomllib.loads((tmp_path / "forgemesh.toml").read_text())["plugins"]
    assert list(plugins) == ["word-count"]
    script = tmp_path / plugins["word-count"]["command"][0]
    assert script.stat().st_mode & 0o100
    assert str(Path(project.__file__).parents[2] / language) in "".join(
        file.read_text() for file in script.parent.iterdir() if file.is_file()
    )
    assert (tmp_path / ".gitignore").read_text() == ".forgemesh/\n"
    assert "published nowhere" in typed.talk[0]
    assert [line.split("   ")[0].strip() for line in typed.talk[-2:]] == [
        "forgemesh up",
        "forgemesh plugin call shop.word-count/greet name=Ada",
    ]


def test_a_second_language_joins_the_first_one(tmp_path: Path, tools: Path, typed: Typed) -> None:
    new(tmp_path, typed, "go", "shop.stock")

    new(tmp_path, typed, "java", "shop.prices")

    assert list(tomllib.loads((tmp_path / "forgemesh.toml").read_text())["plugins"]) == ["stock", "prices"]
    assert typed.talk[-2].split("   ")[0].strip() == "forgemesh plugin load prices"


def test_nothing_is_written_if_its_folder_is_in_the_way(tmp_path: Path, tools: Path, typed: Typed) -> None:
    mine = tmp_path / "plugins" / "word-count" / "run.sh"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")

    with pytest.raises(Problem) as refused:
        new(tmp_path, typed, "go")

    assert refused.value.reason == "FILE_EXISTS"
    assert mine.read_text() == "mine"
    assert not (tmp_path / "forgemesh.toml").exists()


@pytest.mark.parametrize("language", TITLES)
def test_a_missing_toolchain_is_named_before_anything_is_written(
    tmp_path: Path, tools: Path, typed: Typed, language: Literal["go", "java"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(Problem) as refused:
        new(tmp_path, typed, language)

    assert refused.value.reason == "TOOLCHAIN_MISSING"
    assert all(program in refused.value.message for program in LANGUAGES[language].programs)
    assert not (tmp_path / "forgemesh.toml").exists()


def test_a_library_that_is_not_there_is_asked_for(tmp_path: Path, tools: Path, typed: Typed) -> None:
    with pytest.raises(Problem) as refused:
        project.new("shop.stock", language="go", config=tmp_path / "forgemesh.toml", sdk=tmp_path, line=typed.line())

    assert refused.value.reason == "LIBRARY_MISSING"
    assert "--sdk CHECKOUT/clients/go" in refused.value.hint
    assert not (tmp_path / "forgemesh.toml").exists()


def test_what_a_build_that_fails_has_said_is_shown(tmp_path: Path, tools: Path, typed: Typed) -> None:
    tool(tools / "go", "echo main.go:7: no such thing; exit 1")

    with pytest.raises(Problem, match=r"main\.go:7: no such thing") as failed:
        new(tmp_path, typed, "go")

    assert (failed.value.exit_code, failed.value.reason) == (ExitCode.FAILED, "BUILD_FAILED")
    assert failed.value.hint.endswith("plugins/word-count/run.sh build")
