"""The file in which a local mesh says where it listens."""

from __future__ import annotations

from pathlib import Path

import msgspec

from forgemesh.chassis.regular_file import read_file

DATA_DIRECTORY = ".forgemesh"
FILE_NAME = "mesh.json"


class ServiceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """
    One service; the addresses are host:port, that of metrics is empty if nobody can read them. `trouble` is why it does
    not run, as far as that is known.
    """

    address: str
    health_address: str
    pid: int
    metrics_address: str = ""
    trouble: str = ""


class MeshFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A running mesh; `pid` is that of `forgemesh up`, `started_at` UTC in ISO 8601."""

    version: str
    pid: int
    started_at: str
    services: dict[str, ServiceFacts]


def read_mesh(directory: Path) -> MeshFacts | None:
    """What the mesh in a data directory last said about itself; None if no readable file is there."""
    try:
        return msgspec.json.decode(read_file(directory / FILE_NAME), type=MeshFacts)
    except (OSError, msgspec.MsgspecError):
        return None


def nearest_mesh(start: Path) -> MeshFacts | None:
    """The mesh in the data directory of `start`, or of the nearest folder above that has one."""
    for folder in (start, *start.parents):
        facts = read_mesh(folder / DATA_DIRECTORY)
        if facts is not None:
            return facts
    return None
