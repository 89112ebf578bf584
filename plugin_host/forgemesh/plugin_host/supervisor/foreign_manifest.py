"""The manifest of a plugin that is no class: a TOML file beside it."""

from __future__ import annotations

import tomllib
from pathlib import Path

from google.protobuf import json_format

from forgemesh.api.plugin.v1 import manifest_pb2


class ManifestUnreadable(Exception):
    """The file holds no manifest; its text says why."""


def read_manifest(file: Path) -> manifest_pb2.Manifest:
    """The manifest in `file`, its keys named as in the message; raises ManifestUnreadable."""
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
        return json_format.ParseDict(table, manifest_pb2.Manifest())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, json_format.ParseError) as error:
        raise ManifestUnreadable(f"the manifest {file} cannot be read: {error}") from error
