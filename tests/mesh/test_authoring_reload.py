"""`forgemesh up --reload`: an author changes source files while the mesh runs, every process real."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mesh.up_process import Up, Workplace, going_up

pytestmark = pytest.mark.mesh

PLUGIN = """
from forgemesh.plugin import operation, plugin
import words_of_{name}


@plugin("{name}", version="1.0.0")
class Speaker:
    @operation(idempotent=True)
    def speak(self) -> str:
        return words_of_{name}.SAID
"""
NAMES = ("calm", "growing", "broken", "failing", "quiet")
CONFIG = "".join(f'[plugins.{name}]\nload = "{name}:Speaker"\npath = "plugins"\n' for name in NAMES)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    place = Workplace(tmp_path_factory.mktemp("reload"), empty=True)
    (place.folder / "plugins").mkdir()
    for name in NAMES:
        (place.folder / "plugins" / f"{name}.py").write_text(PLUGIN.replace("{name}", name))
        (place.folder / "plugins" / f"words_of_{name}.py").write_text('SAID = "first"\n')
    (place.folder / "forgemesh.toml").write_text(CONFIG)
    with going_up(place, "--reload") as mesh:
        mesh.await_talk("a plugin is replaced when its source changes")
        yield mesh
    assert place.left_behind() == []


def source(mesh: Up, module: str) -> Path:
    return mesh.place.folder / "plugins" / f"{module}.py"


def save(file: Path, text: str) -> None:
    """As an editor does: beside the file first, then over it."""
    beside = file.with_name(f".{file.name}.swp")
    beside.write_text(text)
    beside.rename(file)


def change(mesh: Up, module: str, before: str, after: str) -> None:
    text = source(mesh, module).read_text()
    assert before in text
    save(source(mesh, module), text.replace(before, after))


def said(mesh: Up, operation: str) -> Any:
    done = mesh.place.forgemesh("plugin", "call", operation, "-o", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["output"]


def pids(mesh: Up) -> dict[str, int]:
    hosts = json.loads(mesh.place.forgemesh("plugin", "hosts", "-o", "json").stdout)["hosts"]
    return {host["name"]: host["pid"] for host in hosts}


def test_a_change_of_a_module_that_it_imports_replaces_that_plugin_alone(mesh: Up) -> None:
    before = pids(mesh)

    change(mesh, "words_of_calm", "first", "second")
    mesh.await_talk("calm: replaced, 1.0.0, ")

    after = pids(mesh)
    assert said(mesh, "calm/speak") == "second"
    assert [name for name in NAMES if before[name] != after[name]] == ["calm"]


def test_what_a_plugin_offers_may_change_without_another_version(mesh: Up) -> None:
    change(
        mesh,
        "growing",
        "    @operation(",
        "    @operation\n    def sing(self) -> str:\n        return 'la'\n\n    @operation(",
    )
    mesh.await_talk("growing: replaced, 1.0.0 -> 1.0.0+dev.001, ")
    assert said(mesh, "growing/sing") == "la"

    change(mesh, "growing", "def sing", "def hum")
    mesh.await_talk("growing: replaced, 1.0.0+dev.001 -> 1.0.0+dev.002, ")
    assert said(mesh, "growing/hum") == "la"

    change(mesh, "growing", "def hum", "def sing")
    mesh.await_talk("growing: replaced, 1.0.0+dev.002 -> 1.0.0+dev.001, ")
    listed, everything = (mesh.place.forgemesh("plugin", "list", *more).stdout for more in ((), ("--all",)))
    assert "+dev.001" in listed
    assert "+dev.002" not in listed
    assert "+dev.002" in everything


def test_a_source_that_is_no_python_leaves_the_old_one_serving_until_it_is_mended(mesh: Up) -> None:
    change(mesh, "words_of_broken", 'SAID = "first"', 'SAID = "second')
    mesh.await_talk("broken: not replaced, it cannot be served; the old one goes on")
    mesh.await_talk("words_of_broken.py, line 1: unterminated string")
    assert said(mesh, "broken/speak") == "first"

    change(mesh, "words_of_broken", '"second', '"third"')
    mesh.await_talk("broken: replaced")
    assert said(mesh, "broken/speak") == "third"

    before = pids(mesh)["broken"]
    change(mesh, "words_of_calm", 'SAID = "', 'SAID = "s')
    mesh.await_talk("calm: replaced")
    assert pids(mesh)["broken"] == before


def test_a_version_that_does_not_come_up_leaves_the_old_one_serving_and_names_the_phase(mesh: Up) -> None:
    change(
        mesh,
        "failing",
        "    @operation(",
        "    def start(self) -> None:\n        raise OSError('no ink')\n\n    @operation(",
    )
    mesh.await_talk("failing: the new one does not come up, phase INIT: ")
    assert "the old one goes on" in mesh.await_talk("forgemesh plugin logs failing")[-1]
    assert said(mesh, "failing/speak") == "first"

    change(mesh, "failing", "raise OSError('no ink')", "pass")
    mesh.await_talk("failing: replaced")


def test_a_file_that_is_gone_for_good_is_told_and_its_return_noticed(mesh: Up) -> None:
    text = source(mesh, "words_of_quiet").read_text()

    source(mesh, "words_of_quiet").unlink()
    mesh.await_talk("quiet: not replaced")
    mesh.await_talk("No module named 'words_of_quiet'")
    save(source(mesh, "words_of_quiet"), text.replace("first", "again"))
    mesh.await_talk("quiet: replaced")
    assert said(mesh, "quiet/speak") == "again"


def test_a_section_that_comes_or_changes_is_taken_in(mesh: Up) -> None:
    config = mesh.place.folder / "forgemesh.toml"
    added = mesh.place.forgemesh("plugin", "new", "shop.late")
    assert added.returncode == 0, added.stderr
    mesh.await_talk("late: started, 1.0.0")
    change(mesh, "late", "Hello", "Welcome")
    mesh.await_talk("late: replaced, 1.0.0, ")

    save(config, config.read_text().replace('load = "calm:Speaker"', 'load = "calm:Speaker"\ngrace = "3s"'))
    mesh.await_talk("calm: replaced")
    save(config, config.read_text() + "[plugins\n")
    mesh.await_talk("forgemesh.toml changed and cannot be read; what runs goes on")
    save(config, config.read_text().removesuffix("[plugins\n"))


def test_what_is_watched_is_what_the_section_names_now(mesh: Up) -> None:
    config = mesh.place.folder / "forgemesh.toml"
    moved = PLUGIN.replace("{name}", "quiet").replace("words_of_quiet", "words_of_moved")
    save(source(mesh, "words_of_moved"), 'SAID = "moved"\n')
    save(source(mesh, "moved"), moved)
    save(config, config.read_text().replace('load = "quiet:Speaker"', 'load = "moved:Speaker"'))
    mesh.await_talk("quiet: replaced")
    assert said(mesh, "quiet/speak") == "moved"

    change(mesh, "words_of_quiet", 'SAID = "', 'SAID = "no longer ')
    change(mesh, "words_of_moved", "moved", "moved and changed")
    talk = mesh.await_talk("quiet: replaced")
    assert said(mesh, "quiet/speak") == "moved and changed"
    assert "quiet: words_of_moved.py changed" in talk[-2]


def test_a_section_that_goes_and_comes_back_is_watched_once(mesh: Up) -> None:
    config = mesh.place.folder / "forgemesh.toml"
    text = config.read_text()
    save(config, text.replace('[plugins.growing]\nload = "growing:Speaker"\npath = "plugins"\n', ""))
    mesh.await_talk("growing is no longer in forgemesh.toml")
    save(config, text)
    mesh.await_talk("growing: started")

    change(mesh, "words_of_growing", "first", "back")
    mesh.await_talk("growing: replaced")
    change(mesh, "words_of_calm", 'SAID = "', 'SAID = "e')
    talk = mesh.await_talk("calm: replaced")
    assert [line for line in talk if "growing" in line] == []
