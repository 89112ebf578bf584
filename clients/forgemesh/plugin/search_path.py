"""Folders in one text, as an environment variable takes them to another process."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path


def search_path(folders: Iterable[str | Path]) -> str:
    """As PYTHONPATH has them; as a JSON list if a name of one holds what separates them there."""
    names = [str(folder) for folder in folders]
    return json.dumps(names) if any(os.pathsep in name for name in names) else os.pathsep.join(names)


def folders_of(text: str) -> list[str]:
    """The folders that a text names in either form."""
    if text.startswith("["):
        try:
            named = json.loads(text)
        except ValueError:
            named = None
        if isinstance(named, list) and all(isinstance(name, str) for name in named):
            return [name for name in named if name]
    return [name for name in text.split(os.pathsep) if name]
