"""What `forgemesh plugin check` says about plugins on disk; every import happens in a process of its own."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from forgemesh.cli import plugin_check
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.plugin_inspection import inspect_plugin
from forgemesh.cli.plugin_sections import PluginSection, read_tables, sections_of
from forgemesh.cli.problem import Problem
from forgemesh.client import client
from tests.component.cli.typed import Typed
from tests.mesh.processes import alive, eventually

STOCK = '''
from helper_of_stock import LIMIT
from forgemesh.plugin import operation, plugin

@plugin("shop.stock", version="1.0.0")
class Stock:
    """Knows what is in store."""

    @operation(idempotent=True)
    def count(self, article: str, number: int = LIMIT) -> int:
        """How many there are."""
'''
CONFIG = """
[plugins.stock]
load = "stock:Stock"
path = "plugins"
[plugins.sound]
load = "sound:Sound"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project, and nobody where a mesh would be looked for: a mesh may run on this machine."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "stock.py").write_text(STOCK)
    (tmp_path / "plugins" / "helper_of_stock.py").write_text("LIMIT = 7\n")
    (tmp_path / "forgemesh.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FORGEMESH_ADDRESS", raising=False)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setattr(client, "DEFAULT_ADDRESS", f"127.0.0.1:{nobody.getsockname()[1]}")
        yield tmp_path


@pytest.fixture
def typed() -> Typed:
    return Typed("")


async def mistakes_of(folder: Path, text: str, load: str = "broken:Broken") -> tuple[str, ...]:
    (folder / "broken.py").write_text(text)
    found = await inspect_plugin(PluginSection("", load, (folder,)), patience=10)
    assert found.manifest is None
    return found.mistakes


async def test_a_sound_plugin_is_shown_as_its_callers_see_it(folder: Path, typed: Typed) -> None:
    line = replace(typed.line(), address=None)

    await plugin_check.check("stock", line=line)

    assert typed.out.getvalue().splitlines() == [
        "shop.stock 1.0.0   Knows what is in store.",
        "",
        "  count(article: string, number: integer = 7) -> integer",
        "      How many there are.",
        "      may be repeated",
    ]
    assert typed.talk == ["", "no mesh runs here, so nothing was compared with what is published"]


async def test_all_plugins_of_a_project_are_checked_and_all_mistakes_told(folder: Path, typed: Typed) -> None:
    (folder / "sound.py").write_text(
        "from forgemesh.plugin import operation, plugin\n"
        "@plugin('Sound', version='1')\n"
        "class Sound:\n"
        "    @operation\n"
        "    def play(self, note) -> None: ...\n"
    )
    line = replace(typed.line(), address=None)

    with pytest.raises(Problem) as refused:
        await plugin_check.check(line=line)

    assert refused.value.exit_code is ExitCode.USAGE
    assert refused.value.message == "1 of 2 plugins cannot be served"
    assert refused.value.details == (
        "[plugins.sound] sound:Sound:",
        "  id 'Sound' is not a dotted lower-case name such as \"weather.stats\"",
        "  version '1' is not SemVer such as \"1.2.0\"",
        "  operation play: parameter note has no annotation; say its type, or Any",
    )
    assert "shop.stock 1.0.0" in typed.out.getvalue()


async def test_the_authors_files_are_known_and_nobody_elses(folder: Path) -> None:
    found = await inspect_plugin(PluginSection("stock", "stock:Stock", (folder / "plugins",)))

    assert found.sources == (folder / "plugins" / "helper_of_stock.py", folder / "plugins" / "stock.py")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nothing_of_this_name\n", "No module named 'nothing_of_this_name'; install what"),
        ("def f(:\n", "broken.py, line 1: invalid syntax"),
        ("\n\n1 / 0\n", "broken.py, line 3: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)\n", "broken.py, line 2: importing it ends the process (3)"),
        ("import os\nos._exit(9)\n", "its process ended with exit code 9 while it was imported"),
        ("class Other: ...\n", "has no class or plugin(...) Broken; put @plugin on the class that is one"),
        ("class Broken: ...\n", 'the class carries no @plugin("id", version="1.0.0")'),
        ("Broken = 3\n", "has no class or plugin(...) Broken"),
    ],
)
async def test_whatever_an_import_does_is_told_with_its_place(folder: Path, text: str, said: str) -> None:
    (mistake,) = await mistakes_of(folder, text)

    assert said in mistake


async def test_functions_are_a_plugin_as_well(folder: Path) -> None:
    (folder / "words.py").write_text(
        "from forgemesh.plugin import plugin\n"
        "words = plugin('text.words', version='1.0.0')\n"
        "@words.operation\n"
        "def count(text: str) -> int: return 1\n"
    )
    found = await inspect_plugin(PluginSection("", "words:words", (folder,)))
    wrong = await inspect_plugin(PluginSection("", "words:word", (folder,)))

    assert found.manifest is not None
    assert found.manifest.plugin_id == "text.words"
    assert wrong.mistakes[0].endswith("; its plugins are words")


async def test_an_entry_point_that_nobody_announces_is_told(folder: Path) -> None:
    found = await inspect_plugin(PluginSection("", "entry:nothing", ()))

    assert found.mistakes[0].startswith("no entry point 'nothing'")


FOREIGN = """
[plugins.foreign]
command = ["./foreign"]
manifest = "foreign.toml"
"""


async def test_a_program_in_another_language_is_checked_by_its_manifest(folder: Path, typed: Typed) -> None:
    (folder / "forgemesh.toml").write_text(FOREIGN)
    (folder / "foreign.toml").write_text('id = "shop.foreign"\nversion = "1.0.0"\n[operations.run]\n')
    await plugin_check.check("foreign", line=replace(typed.line(), address=None))
    assert typed.out.getvalue().startswith("shop.foreign 1.0.0\n")

    (folder / "foreign.toml").write_text('id = "Shop"\nversion = "1"\n[operations.run]\n')
    with pytest.raises(Problem) as refused:
        await plugin_check.check("foreign", line=replace(typed.line(), address=None))
    assert refused.value.message == "[plugins.foreign] foreign.toml cannot be served"
    assert len(refused.value.details) == 2


async def test_a_plugin_is_looked_at_with_its_own_python(folder: Path) -> None:
    own = folder / "own"
    own.mkdir()
    (own / "bin").mkdir()
    (own / "bin" / "python").symlink_to("/bin/false")
    (folder / "forgemesh.toml").write_text(
        CONFIG.replace('load = "stock:Stock"', 'load = "stock:Stock"\npython = "own"')
    )
    (section, _) = sections_of(folder / "forgemesh.toml", read_tables(folder / "forgemesh.toml"))
    ended = await inspect_plugin(section)
    missing = await inspect_plugin(replace(section, python=str(folder / "nothing")))

    assert section.python == str(own / "bin" / "python")
    assert ended.mistakes[0].startswith("its process ended with exit code 1")
    assert "cannot be run: no such file or directory" in missing.mistakes[0]


async def test_a_module_that_is_not_there_is_asked_back(folder: Path) -> None:
    found = await inspect_plugin(PluginSection("", "stok:Stock", (folder / "plugins",)))

    assert found.mistakes == (f"no module 'stok' in {folder}/plugins; did you mean 'stock'?",)


async def test_an_import_that_never_ends_is_ended_with_all_that_it_started(folder: Path) -> None:
    (folder / "broken.py").write_text(
        "import pathlib, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "pathlib.Path('pid').write_text(str(child.pid))\n"
        "print('waiting', flush=True)\n"
        "child.wait()\n"
    )
    found = await inspect_plugin(PluginSection("", "broken:Broken", (folder,)), patience=5)

    assert found.mistakes[0].startswith("its import did not end within 5 s")
    assert found.written == ("waiting",)
    pid = int((folder / "pid").read_text())
    await eventually(lambda: asyncio.sleep(0, not alive(pid)))


async def test_what_it_writes_does_not_disturb_the_report(folder: Path) -> None:
    (folder / "broken.py").write_text("import os\nos.write(1, b'x' * 1_000_000)\nraise OSError('full')\n")

    found = await inspect_plugin(PluginSection("", "broken:Broken", (folder,)))

    assert found.mistakes[0].endswith("broken.py, line 3: OSError: full")


async def test_programs_get_manifest_and_mistakes(folder: Path, typed: Typed) -> None:
    line = replace(typed.line(json=True), address=None)

    await plugin_check.check("stock", line=line)

    (row,) = typed.value["plugins"]
    assert (row["section"], row["valid"], row["published"]) == ("stock", True, "UNKNOWN")
    assert row["manifest"]["plugin_id"] == "shop.stock"


@pytest.mark.parametrize(
    ("asked", "said"),
    [("stok", "has no section [plugins.stok]"), (":Stock", 'is not "module:Class"'), ("stock:", "is not")],
)
async def test_what_names_no_plugin_is_refused(folder: Path, typed: Typed, asked: str, said: str) -> None:
    with pytest.raises(Problem) as refused:
        await plugin_check.check(asked, line=typed.line())

    assert refused.value.exit_code is ExitCode.USAGE
    assert said in refused.value.message


async def test_without_a_project_the_way_to_one_is_named(tmp_path: Path, typed: Typed) -> None:
    with pytest.raises(Problem) as refused:
        await plugin_check.check(config=tmp_path / "none.toml", line=typed.line())

    assert refused.value.exit_code is ExitCode.NOT_FOUND
    assert os.fspath(tmp_path / "none.toml") in refused.value.message


async def test_two_sections_that_serve_different_things_as_one_version_are_refused(folder: Path, typed: Typed) -> None:
    (folder / "sound.py").write_text(STOCK.replace("Stock", "Sound").replace("LIMIT\n", "LIMIT\n", 1))
    (folder / "helper_of_stock.py").write_text("LIMIT = 8\n")
    line = replace(typed.line(), address=None)

    with pytest.raises(Problem, match=r"several sections serve different content as shop\.stock 1\.0\.0"):
        await plugin_check.check(line=line)
