"""Looks at a plugin in a process of its own: whatever its import does harms nobody."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from forgemesh.api.plugin.v1.manifest_pb2 import Manifest
from forgemesh.cli.inspection import REPORT_FD
from forgemesh.cli.mesh.log import last_lines
from forgemesh.cli.mesh.process import ended
from forgemesh.cli.plugin_sections import PluginSection
from forgemesh.plugin import PluginDefinitionError, manifest_from_toml
from forgemesh.plugin.search_path import search_path

PATIENCE = 30.0
_SHOWN = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What an import has shown: the manifest, or what is wrong; `sources` are the author's files that it read."""

    section: PluginSection
    manifest: Manifest | None = None
    mistakes: tuple[str, ...] = ()
    sources: tuple[Path, ...] = ()
    written: tuple[str, ...] = ()


async def inspect_plugin(
    section: PluginSection, *, environment: Mapping[str, str] | None = None, patience: float = PATIENCE
) -> Inspection:
    """Import the plugin, or read its manifest, and check it; never raises for what the author did."""
    if section.manifest is not None:
        return _read(section, section.manifest)
    reading, told = os.pipe()
    with contextlib.ExitStack() as pipes, tempfile.TemporaryDirectory(prefix="forgemesh-check-") as folder:
        output = Path(folder) / "output"
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", buffering=0)
        )
        pipes.callback(transport.close)
        try:
            process = await _spawn(section, environment or os.environ, output, told)
        except OSError as error:
            return Inspection(section=section, mistakes=(_no_interpreter(section, error.strerror or str(error)),))
        finally:
            os.close(told)
        try:
            async with asyncio.timeout(patience):
                said = await reader.read()
                code = await process.wait()
        except TimeoutError:
            return Inspection(section=section, mistakes=(_endless(patience),), written=_lines(output))
        finally:
            await _kill(process)
        if not said.endswith(b"\n"):
            return Inspection(
                section=section, mistakes=(_silent(section, code, _lines(output)),), written=_lines(output)
            )
        report = json.loads(said)
        manifest = base64.b64decode(report["manifest"])
        return Inspection(
            section=section,
            manifest=Manifest.FromString(manifest) if manifest else None,
            mistakes=tuple(report["mistakes"]),
            sources=tuple(map(Path, report["sources"])),
            written=_lines(output),
        )


async def _spawn(
    section: PluginSection, environment: Mapping[str, str], output: Path, told: int
) -> asyncio.subprocess.Process:
    with output.open("wb") as written:
        return await asyncio.create_subprocess_exec(
            section.python or sys.executable,
            "-m",
            "forgemesh.cli.inspection",
            section.load,
            env={
                **environment,
                REPORT_FD: str(told),
                "FORGEMESH_HOST_PATH": search_path(section.folders),
                "PYTHONUNBUFFERED": "1",
            },
            pass_fds=(told,),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=written,
            stderr=written,
            start_new_session=True,
        )


async def _kill(process: asyncio.subprocess.Process) -> None:
    """The process, and whatever it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _read(section: PluginSection, file: Path) -> Inspection:
    """What a program in another language says about itself."""
    try:
        manifest = manifest_from_toml(file.read_text(encoding="utf-8"))
    except OSError as error:
        return Inspection(section=section, mistakes=(f"cannot read {file}: {error.strerror}",), sources=(file,))
    except UnicodeDecodeError:
        return Inspection(section=section, mistakes=(f"{file} is no text file",), sources=(file,))
    except PluginDefinitionError as error:
        return Inspection(section=section, mistakes=error.mistakes, sources=(file,))
    return Inspection(section=section, manifest=manifest, sources=(file,))


def _no_interpreter(section: PluginSection, cause: str) -> str:
    return f"its Python, {section.python}, cannot be run: {cause.lower()}; make it: python -m venv FOLDER"


def _silent(section: PluginSection, code: int, written: tuple[str, ...]) -> str:
    if any("No module named 'forgemesh" in line for line in written):
        return (
            f"ForgeMesh is not installed for its Python, {section.python or sys.executable}; install it there as well"
        )
    return f"its process {ended(code)} while it was imported; let a module only define things"


def _endless(patience: float) -> str:
    return f"its import did not end within {patience:g} s; let a module only define things, and begin work in `start`"


def _lines(output: Path) -> tuple[str, ...]:
    return tuple(last_lines(output, _SHOWN))
