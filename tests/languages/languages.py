"""The languages that are tested: how their programs are built, and how they are run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BUILD_PATIENCE = 900.0


@dataclass(frozen=True)
class Language:
    """One language; both commands are there once it is built."""

    name: str
    plugin: tuple[str, ...]
    client: tuple[str, ...]
    section: Mapping[str, object]
    """What its plugin's section in forgemesh.toml holds beside its configuration."""


def built(folder: Path) -> tuple[dict[str, Language], dict[str, str]]:
    """Each language whose toolchain is there, its programs in `folder`; and why each of the others is skipped."""
    found = {"python": _python()}
    skipped = {}
    if shutil.which("go") is None:
        skipped["go"] = "there is no `go`"
    else:
        found["go"] = _go(folder)
    missing = [program for program in ("node", "npm") if shutil.which(program) is None]
    if missing:
        skipped["node"] = f"there is no `{missing[0]}`"
    else:
        found["node"] = _node()
    return found, skipped


def _python() -> Language:
    plugin = {"load": "plugin:Conformance", "path": str(HERE / "python")}
    return Language("python", (), (sys.executable, str(HERE / "python" / "client.py")), plugin)


def _go(folder: Path) -> Language:
    command = ["go", "build", "-o", f"{folder}/", "./..."]
    subprocess.run(
        command, cwd=HERE / "go", env={**os.environ, "GOFLAGS": "-mod=readonly"}, timeout=BUILD_PATIENCE, check=True
    )
    plugin, client = str(folder / "plugin"), str(folder / "client")
    return Language("go", (plugin,), (client,), {"command": [plugin]})


def _node() -> Language:
    """Built where it stands: its packages are found from there."""
    here = HERE / "node"
    for folder in (ROOT / "clients" / "node", here):
        for command in ("ci --ignore-scripts --no-audit --no-fund --loglevel=error", "run --silent build"):
            subprocess.run(["npm", *command.split()], cwd=folder, timeout=BUILD_PATIENCE, check=True)
    plugin, client = str(here / "dist" / "plugin.js"), str(here / "dist" / "client.js")
    return Language("node", ("node", plugin), ("node", client), {"command": ["node", plugin]})
