"""What people type to begin."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from forgemesh.cli import project
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.problem import Problem
from tests.component.cli.typed import Typed

FILES = ["forgemesh.toml", "plugins/greeter.py", "workflows/greet.yaml", "tests/test_greeter.py", "README.md"]


@pytest.fixture
def typed() -> Typed:
    return Typed("127.0.0.1:1")


def init(folder: Path, typed: Typed, **options: str) -> None:
    project.init(folder, line=typed.line(), **options)


def test_a_project_is_made_with_its_folder(tmp_path: Path, typed: Typed) -> None:
    folder = tmp_path / "deep" / "My Shop"

    init(folder, typed)

    assert typed.out.getvalue().splitlines()[0] == f"made the project 'my-shop' in {folder}"
    assert [row[0] for row in typed.rows[1:]] == [*FILES, ".gitignore"]
    assert all((folder / file).is_file() for file in FILES)
    assert typed.talk[1].strip() == f"cd '{folder}'"


def test_the_name_begins_the_ids_of_its_plugins(tmp_path: Path, typed: Typed) -> None:
    init(tmp_path, typed, name="acme.shop")

    assert '@plugin("acme.shop.greeter", version="1.0.0")' in (tmp_path / "plugins" / "greeter.py").read_text()
    assert "plugin: acme.shop.greeter" in (tmp_path / "workflows" / "greet.yaml").read_text()


def test_programs_get_the_files_and_the_next_commands(tmp_path: Path, typed: Typed) -> None:
    project.init(tmp_path, name="shop", line=typed.line(json=True))

    assert typed.value == {
        "project": "shop",
        "folder": str(tmp_path),
        "files": [*FILES, ".gitignore"],
        "next": [f"cd {tmp_path}", "pytest", "forgemesh up", "forgemesh run workflows/greet.yaml -i name=Ada"],
    }
    assert typed.talk == []


def test_nothing_is_written_if_a_file_is_in_the_way(tmp_path: Path, typed: Typed) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "greeter.py").write_text("mine")

    with pytest.raises(Problem) as refused:
        init(tmp_path, typed)

    assert refused.value.exit_code is ExitCode.REFUSED
    assert refused.value.message == f"nothing was written: {tmp_path}/plugins/greeter.py exists already"
    assert (tmp_path / "plugins" / "greeter.py").read_text() == "mine"
    assert not (tmp_path / "forgemesh.toml").exists()


def test_a_second_project_in_the_same_folder_is_refused_and_the_way_to_a_second_plugin_named(
    tmp_path: Path, typed: Typed
) -> None:
    init(tmp_path, typed)

    with pytest.raises(Problem) as refused:
        init(tmp_path, typed)

    assert refused.value.hint == "for another plugin: forgemesh plugin new NAME"


def test_a_repository_keeps_its_readme_and_its_gitignore(tmp_path: Path, typed: Typed) -> None:
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / ".gitignore").write_bytes(b"*.pyc\nbuild")

    init(tmp_path, typed)

    assert (tmp_path / "README.md").read_text() == "mine"
    assert (tmp_path / ".gitignore").read_bytes() == b"*.pyc\nbuild\n.forgemesh/\n"


def test_what_version_control_leaves_out_already_is_not_said_twice(tmp_path: Path, typed: Typed) -> None:
    (tmp_path / ".gitignore").write_text("/.forgemesh\n")

    init(tmp_path, typed)

    assert (tmp_path / ".gitignore").read_text() == "/.forgemesh\n"
    assert ".gitignore" not in typed.out.getvalue()


def test_a_file_where_the_folder_should_be_is_named(tmp_path: Path, typed: Typed) -> None:
    (tmp_path / "shop").touch()

    with pytest.raises(Problem, match=r"cannot write .*shop/forgemesh\.toml") as refused:
        init(tmp_path / "shop", typed)

    assert refused.value.exit_code is ExitCode.FAILED


CONFIG = """# mine
[registry]           # never moved
lease = 30

[plugins.stock]
load = "stock:Stock" # with a comment
"""


def added(tmp_path: Path, typed: Typed, text: str = CONFIG, name: str = "shop.word-count") -> str:
    config = tmp_path / "forgemesh.toml"
    config.write_bytes(text.encode())
    project.new(name, config=config, line=typed.line())
    return config.read_bytes().decode()


def test_a_plugin_is_added_at_the_end_and_everything_else_stays(tmp_path: Path, typed: Typed) -> None:
    text = added(tmp_path, typed)

    assert text.startswith(CONFIG)
    assert tomllib.loads(text)["plugins"]["word-count"] == {
        "load": "word_count:WordCount",
        "path": "plugins",
        "instances": 1,
    }
    assert "class WordCount" in (tmp_path / "plugins" / "word_count.py").read_text()
    assert (tmp_path / "tests" / "test_word_count.py").is_file()


def test_line_ends_and_mode_of_the_file_stay(tmp_path: Path, typed: Typed) -> None:
    config = tmp_path / "forgemesh.toml"
    config.touch(0o600)

    text = added(tmp_path, typed, CONFIG.rstrip("\n").replace("\n", "\r\n"))

    assert text.count("\n") == text.count("\r\n")
    assert config.stat().st_mode & 0o777 == 0o600
    assert sorted(file.name for file in tmp_path.iterdir()) == ["forgemesh.toml", "plugins", "tests"]


def test_an_empty_configuration_takes_a_plugin(tmp_path: Path, typed: Typed) -> None:
    assert list(tomllib.loads(added(tmp_path, typed, ""))["plugins"]) == ["word-count"]


@pytest.mark.parametrize(
    ("text", "name", "why"),
    [
        (CONFIG, "other.stock", r"has a section \[plugins.stock\] already"),
        ("plugins = {a = {load = 'a:A'}}\n", "shop.b", "in a form to which no section can be added"),
        ("[plugins\n", "shop.b", "is not valid TOML"),
    ],
)
def test_a_configuration_that_cannot_take_it_stays_as_it_was(
    tmp_path: Path, typed: Typed, text: str, name: str, why: str
) -> None:
    with pytest.raises(Problem, match=why):
        added(tmp_path, typed, text, name)

    assert (tmp_path / "forgemesh.toml").read_text() == text
    assert not (tmp_path / "plugins").exists()


def test_a_file_of_the_plugins_name_is_left_alone(tmp_path: Path, typed: Typed) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "word_count.py").write_text("mine")

    with pytest.raises(Problem, match=r"word_count\.py exists already"):
        added(tmp_path, typed)

    assert (tmp_path / "forgemesh.toml").read_text() == CONFIG


def test_without_a_project_the_way_to_one_is_named(tmp_path: Path, typed: Typed) -> None:
    with pytest.raises(Problem) as refused:
        project.new("shop.stock", config=tmp_path / "forgemesh.toml", line=typed.line())

    assert refused.value.exit_code is ExitCode.NOT_FOUND
    assert "forgemesh init" in refused.value.hint
