"""A plugin's configuration from a file, for hosts without a supervisor."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import msgspec

from forgemesh.api.supervisor.v1 import host_pb2
from forgemesh.language.nesting import check_depth
from forgemesh.plugin_host.start_failure import StartFailed


def read_config(file: str) -> str:
    """The JSON text of a JSON file, or of a TOML file (`*.toml`); raises StartFailed."""
    try:
        text = Path(file).read_text(encoding="utf-8")
        check_depth(text)
        found = tomllib.loads(text) if file.endswith(".toml") else json.loads(text)
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
        return msgspec.json.encode(found).decode()
    except (OSError, ValueError, TypeError) as error:
        raise StartFailed(host_pb2.HOST_PHASE_CONFIG, f"cannot use the configuration {file}: {error}") from error
