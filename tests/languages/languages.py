"""The languages that are tested: how their programs are built, and how they are run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BUILD_PATIENCE = 900.0
SMALL_JVM = ("-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


@dataclass(frozen=True)
class Language:
    """One language; both commands are there once it is built."""

    name: str
    plugin: tuple[str, ...]
    client: tuple[str, ...]
    section: Mapping[str, object]
    """What its plugin's section in forgemesh.toml holds beside its configuration."""


def _python(_: Path) -> Language:
    plugin = {"load": "plugin:Conformance", "path": str(HERE / "python")}
    return Language("python", (), (sys.executable, str(HERE / "python" / "client.py")), plugin)


def _go(folder: Path) -> Language:
    command = ["go", "build", "-o", f"{folder}/", "./..."]
    subprocess.run(
        command, cwd=HERE / "go", env={**os.environ, "GOFLAGS": "-mod=readonly"}, timeout=BUILD_PATIENCE, check=True
    )
    plugin, client = str(folder / "plugin"), str(folder / "client")
    return Language("go", (plugin,), (client,), {"command": [plugin]})


def _node(_: Path) -> Language:
    """Built where it stands: its packages are found from there."""
    here = HERE / "node"
    for folder in (ROOT / "clients" / "node", here):
        for command in ("ci --ignore-scripts --no-audit --no-fund --loglevel=error", "run --silent build"):
            subprocess.run(["npm", *command.split()], cwd=folder, timeout=BUILD_PATIENCE, check=True)
    plugin, client = str(here / "dist" / "plugin.js"), str(here / "dist" / "client.js")
    return Language("node", ("node", plugin), ("node", client), {"command": ["node", plugin]})


def _java(_: Path) -> Language:
    """Built where it stands, together with the library."""
    build = "mvn -q -B -P conformance -D skipTests -D spotless.check.skip package"
    subprocess.run(build.split(), cwd=ROOT / "clients" / "java", timeout=BUILD_PATIENCE, check=True)
    target = HERE / "java" / "target"
    run = ("java", *SMALL_JVM, "-cp", f"{target}/conformance.jar:{target}/lib/*")
    plugin, client = (*run, "conformance.Conformance"), (*run, "conformance.ConformanceClient")
    return Language("java", plugin, client, {"command": list(plugin)})


TABLE: Mapping[str, tuple[tuple[str, ...], Callable[[Path], Language]]] = {
    "python": ((), _python),
    "go": (("go",), _go),
    "node": (("node", "npm"), _node),
    "java": (("javac", "mvn"), _java),
}
"""What each language needs on the PATH, and how it is built."""


def built(folder: Path) -> tuple[dict[str, Language], dict[str, str]]:
    """Each language whose toolchain is there, its programs in `folder`; and why each of the others is skipped."""
    found, skipped = {}, {}
    for name, (programs, build) in TABLE.items():
        if missing := [program for program in programs if shutil.which(program) is None]:
            skipped[name] = f"there is no `{missing[0]}`"
        else:
            found[name] = build(folder)
    return found, skipped
