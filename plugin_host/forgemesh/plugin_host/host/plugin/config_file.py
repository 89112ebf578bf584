"""A plugin's configuration from a file, for hosts without a supervisor."""

from __future__ import annotations

import tomllib
from pathlib import Path

from forgemesh.api.supervisor.v1 import host_pb2
from forgemesh.language.json_value import read_document, write_json
from forgemesh.plugin_host.host.plugin.start_failure import StartFailed


def read_config(file: str) -> str:
    """The JSON text of a JSON file, or of a TOML file (`*.toml`); raises StartFailed."""
    try:
        raw = Path(file).read_bytes()
        found = tomllib.loads(raw.decode()) if file.endswith(".toml") else read_document(raw)
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
        return write_json(found).decode()
    except (OSError, ValueError, TypeError) as error:
        raise StartFailed(host_pb2.HOST_PHASE_CONFIG, f"cannot use the configuration {file}: {error}") from error
