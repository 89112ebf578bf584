"""Where a plugin is loaded from: the module and name that a host is told, and the folders in which it looks first."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from forgemesh.plugin import DeclaredPlugin
from forgemesh.plugin.search_path import search_path

Folders: TypeAlias = str | Path | Sequence[str | Path]


@dataclass(frozen=True, slots=True)
class PluginSource:
    """`load` is "module:Class", `folders` come first where modules are looked for."""

    load: str
    folders: tuple[Path, ...]

    @property
    def path(self) -> str:
        """The folders in one text."""
        return search_path(self.folders)


def source_of(plugin: object, path: Folders | None = None) -> PluginSource:
    """
    The source of "module:Class", looked for in `path` (the working directory if not given), or of a plugin itself.

    Raises ValueError for what another process could not import.
    """
    if isinstance(plugin, str):
        module, _, name = plugin.partition(":")
        if not module or not name:
            raise ValueError(f'{plugin!r} is not "module:Class"')
        return PluginSource(plugin, _absolute("." if path is None else path))
    module, name = _home(plugin)
    folder, module = _importable(module)
    return PluginSource(f"{module}:{name}", (folder, *_absolute(path or ())))


def _home(plugin: object) -> tuple[str, str]:
    """The module in which a class, or a plugin made of functions, stands, and its name there."""
    if isinstance(plugin, DeclaredPlugin) and plugin.functions:
        module = plugin.functions[0][0].__module__
        found = [name for name, value in vars(sys.modules[module]).items() if value is plugin]
        if not found:
            raise ValueError(f"no variable of {module} holds the plugin; keep it at the top of its module")
        return module, found[0]
    if not inspect.isclass(plugin):
        raise ValueError(f'{plugin!r} is no plugin; give the class, the plugin(...), or "module:Class"')
    if "." in plugin.__qualname__:
        raise ValueError(f"{plugin.__qualname__} stands inside something; put the class at the top of a module")
    return plugin.__module__, plugin.__name__


def _importable(module: str) -> tuple[Path, str]:
    """The folder from which the module can be imported, and its name there."""
    known = sys.modules[module].__file__
    if known is None:
        raise ValueError(f"module {module} comes from no file; put the plugin into one")
    file = Path(known).resolve()
    words = module.split(".")
    steps = list(file.with_suffix("").parts if file.stem != "__init__" else file.parent.parts)
    if steps[-len(words) :] == words:
        return Path(*steps[: -len(words)]), module
    return file.parent, file.stem


def _absolute(path: Folders) -> tuple[Path, ...]:
    folders = [path] if isinstance(path, str | Path) else path
    return tuple(Path(folder).resolve() for folder in folders)
