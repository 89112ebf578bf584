"""Where a plugin is loaded from: the module and name that a host is told, and the folders in which it looks first."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

Folders: TypeAlias = str | Path | Sequence[str | Path]


@dataclass(frozen=True, slots=True)
class PluginSource:
    """`load` is "module:Class", `folders` come first where modules are looked for."""

    load: str
    folders: tuple[Path, ...]

    @property
    def path(self) -> str:
        """The folders as PYTHONPATH has them."""
        return os.pathsep.join(map(str, self.folders))


def source_of(plugin: object, path: Folders | None = None) -> PluginSource:
    """
    The source of "module:Class", looked for in `path` (the working directory if not given), or of a class itself.

    Raises ValueError for what another process could not import.
    """
    if isinstance(plugin, str):
        module, _, name = plugin.partition(":")
        if not module or not name:
            raise ValueError(f'{plugin!r} is not "module:Class"')
        return PluginSource(plugin, _absolute("." if path is None else path))
    if not inspect.isclass(plugin):
        raise ValueError(f'{plugin!r} is no plugin class; give the class, or "module:Class"')
    if "." in plugin.__qualname__:
        raise ValueError(f"{plugin.__qualname__} stands inside something; put the class at the top of a module")
    folder, module = _home(plugin)
    return PluginSource(f"{module}:{plugin.__name__}", (folder, *_absolute(path or ())))


def _home(plugin: type) -> tuple[Path, str]:
    """The folder from which its module can be imported, and the module's name there."""
    known = sys.modules[plugin.__module__].__file__
    if known is None:
        raise ValueError(f"{plugin.__qualname__} comes from no file; put the class into a module")
    file = Path(known).resolve()
    words = plugin.__module__.split(".")
    steps = list(file.with_suffix("").parts if file.stem != "__init__" else file.parent.parts)
    if steps[-len(words) :] == words:
        return Path(*steps[: -len(words)]), plugin.__module__
    return file.parent, file.stem


def _absolute(path: Folders) -> tuple[Path, ...]:
    folders = [path] if isinstance(path, str | Path) else path
    return tuple(Path(folder).resolve() for folder in folders)
