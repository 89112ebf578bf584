"""A plugin that is saved again is loaded as it is now, however soon that was and however alike it looks."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import cache_from_source
from pathlib import Path

SECOND = 10**9
LONG_AGO = 1_700_000_000 * SECOND

SOURCE = """
from forgemesh.plugin import operation, plugin
from {helper} import VERSION

@plugin("test.saved", version=VERSION)
class Plugin:
    @operation
    def ping(self) -> str:
        return VERSION
"""
LOAD = """
import sys
from forgemesh.plugin import load_definition, manifest_of
print(manifest_of(load_definition("saved:Plugin", [sys.argv[1]])).version)
"""


def save(path: Path, text: str, at: int) -> None:
    path.write_text(text)
    os.utime(path, ns=(at, at))


def loaded(directory: Path) -> str:
    found = subprocess.run(
        [sys.executable, "-c", LOAD, directory], capture_output=True, text=True, check=True, timeout=60
    )
    return found.stdout.strip()


def test_a_file_that_is_saved_twice_within_a_second_is_loaded_as_it_is_now(tmp_path: Path) -> None:
    save(tmp_path / "saved.py", SOURCE.format(helper="helper"), LONG_AGO)
    helper = tmp_path / "helper.py"
    save(helper, 'VERSION = "1.0.0"', LONG_AGO + SECOND // 10)
    first = loaded(tmp_path)
    bytecode = Path(cache_from_source(str(helper)))
    os.utime(bytecode, ns=(LONG_AGO + SECOND // 2,) * 2)
    save(helper, 'VERSION = "2.0.0"', LONG_AGO + SECOND * 9 // 10)

    assert (first, loaded(tmp_path)) == ("1.0.0", "2.0.0")


def test_bytecode_is_kept_of_what_was_not_saved_just_now(tmp_path: Path) -> None:
    save(tmp_path / "saved.py", SOURCE.format(helper="helper"), LONG_AGO)
    (tmp_path / "helper.py").write_text('VERSION = "1.0.0"')
    loaded(tmp_path)

    kept = [path.name for path in (tmp_path / "__pycache__").iterdir()]
    assert [name.partition(".")[0] for name in kept] == ["saved"]
