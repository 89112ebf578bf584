"""Bytecode that is older than the source it was made from is not run."""

from __future__ import annotations

import sys
import time
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from pathlib import Path
from typing import Any

_SETTLED = 2.0
"""Seconds after which a file that is saved again has another time, however coarse the clock of its file system."""


class CurrentSourceLoader(SourceFileLoader):
    """
    Imports source files, as Python does, without trusting bytecode that may be that of an earlier save.

    Python takes bytecode for current if the source has the same size and the same second of its last change. A plugin
    that is saved twice within a second, as programs do that edit, would be loaded as it was before.
    """

    def get_data(self, path: str) -> bytes:
        """The bytes of a file; raises OSError also for bytecode that the source was saved after."""
        source = self.path
        if path != source and Path(path).stat().st_mtime_ns <= Path(source).stat().st_mtime_ns:
            raise OSError(f"{source} is newer than {path}")
        return super().get_data(path)

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        """Keep bytecode, unless the source may be saved again within the second that it is known by."""
        if time.time() - Path(self.path).stat().st_mtime >= _SETTLED:
            super().set_data(path, data, _mode=_mode)


_HOOK = FileFinder.path_hook(
    (ExtensionFileLoader, EXTENSION_SUFFIXES),
    (CurrentSourceLoader, SOURCE_SUFFIXES),
    (SourcelessFileLoader, BYTECODE_SUFFIXES),
)


def import_current_source() -> None:
    """From now on, whatever this process imports is what its source says now."""
    if _HOOK not in sys.path_hooks:
        sys.path_hooks.insert(0, _HOOK)
        sys.path_importer_cache.clear()
