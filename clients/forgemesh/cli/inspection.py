"""`python -m forgemesh.cli.inspection LOAD`: imports a plugin and says on a pipe what it offers or what is wrong."""

from __future__ import annotations

import base64
import difflib
import inspect
import json
import os
import site
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import forgemesh
from forgemesh.plugin import DeclaredPlugin, PluginDefinitionError, PluginImportError, load_definition, manifest_of
from forgemesh.plugin.declaration import plugin_declaration
from forgemesh.plugin.discovery import ENTRY
from forgemesh.plugin.search_path import folders_of

REPORT_FD = "FORGEMESH_INSPECTION_FD"
"""Names the inherited pipe; standard output is left to the plugin."""


def report(load: str, folders: Sequence[str]) -> dict[str, Any]:
    """The manifest as base64, or mistakes; `sources` are the author's files that were imported."""
    known = set(sys.modules)
    mistakes: list[str] = []
    manifest = b""
    try:
        manifest = manifest_of(load_definition(load, folders)).SerializeToString(deterministic=True)
    except PluginDefinitionError as error:
        mistakes.extend(error.mistakes)
    except PluginImportError as error:
        mistakes.append(_import_mistake(load, folders, error))
    sources = _sources(sys.modules[name] for name in set(sys.modules) - known)
    return {"manifest": base64.b64encode(manifest).decode(), "mistakes": mistakes, "sources": sources}


def _import_mistake(load: str, folders: Sequence[str], error: PluginImportError) -> str:
    """With the author's file and line, and what to do, where that is known."""
    module, _, name = load.partition(":")
    cause = error.__cause__
    if isinstance(cause, ModuleNotFoundError) and cause.name == module.partition(".")[0]:
        return _not_found(module, folders)
    if isinstance(cause, SystemExit):
        return f"{_place(cause)}importing it ends the process ({cause.code!r}); let a module only define things"
    if isinstance(cause, SyntaxError):
        return f"{cause.filename}, line {cause.lineno}: {cause.msg}"
    if cause is None or module == ENTRY:
        return _no_plugin(str(error), module, name)
    advice = ""
    if isinstance(cause, ModuleNotFoundError) and cause.name:
        advice = f"; install what {cause.name!r} belongs to for {sys.executable}, or add its folder to `path`"
    return f"{_place(cause)}{type(cause).__name__}: {_text(cause)}{advice}"


def _no_plugin(said: str, module: str, name: str) -> str:
    """What it is not, and what there is in the module instead."""
    found = sys.modules.get(module)
    if found is None or module == ENTRY:
        return said
    plugins = [one for one, value in vars(found).items() if _is_plugin(value)]
    has = f"its plugins are {', '.join(plugins)}" if plugins else "put @plugin on the class that is one"
    return f"module {module} ({found.__file__}) has no class or plugin(...) {name}; {has}"


def _is_plugin(value: object) -> bool:
    return isinstance(value, DeclaredPlugin) or (inspect.isclass(value) and plugin_declaration(value) is not None)


def _not_found(module: str, folders: Sequence[str]) -> str:
    there = [file.stem for folder in folders if Path(folder).is_dir() for file in sorted(Path(folder).glob("*.py"))]
    close = difflib.get_close_matches(module, there, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else f"; modules there: {', '.join(there) or 'none'}"
    return f"no module {module!r} in {', '.join(folders) or 'the working directory'}{hint}"


def _place(error: BaseException) -> str:
    """Where in the author's own code it happened: the last line that is neither Python's nor installed."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith("<") and _is_own(frame.filename)]
    return f"{own[-1].filename}, line {own[-1].lineno}: " if own else ""


def _sources(modules: Iterable[ModuleType]) -> list[str]:
    files = (getattr(module, "__file__", None) for module in modules)
    return sorted({file for file in files if file and _is_own(file)})


def _is_own(file: str) -> bool:
    return not file.startswith(_FOREIGN)


def _foreign() -> tuple[str, ...]:
    """Folders of what the author has not written: Python, what is installed, and ForgeMesh itself."""
    python = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return tuple(folder + os.sep for folder in (*python, site.getusersitepackages(), *forgemesh.__path__))


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - the author's exception may fail to say what it is
        return "(it cannot say what it is)"


_FOREIGN = _foreign()


def main() -> None:
    """Load, report, end at once: threads that the plugin has started hold nothing up."""
    fd = int(os.environ.pop(REPORT_FD))
    said = report(sys.argv[1], folders_of(os.environ.get("FORGEMESH_HOST_PATH", "")))
    with os.fdopen(fd, "w") as pipe:
        pipe.write(json.dumps(said) + "\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
