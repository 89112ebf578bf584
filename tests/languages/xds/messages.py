"""What messages of xDS consist of: ours, and as a program, with `theirs` and names, those of their authors."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

ELSEWHERE = {
    "envoy.service.discovery.v3.Refusal": "google.rpc.Status",
    "envoy.service.load_stats.v3.ClusterStats": "envoy.config.endpoint.v3.ClusterStats",
    "envoy.service.load_stats.v3.UpstreamLocalityStats": "envoy.config.endpoint.v3.UpstreamLocalityStats",
    "envoy.extensions.upstreams.http.v3.Http2ProtocolOptions": "envoy.config.core.v3.Http2ProtocolOptions",
}
"""Ours that have another name than theirs: they stand in other messages only, where a name does not travel."""


def ours() -> dict[str, dict[str, list[Any]]]:
    """By their names."""
    from forgemesh.api.xds import v3  # noqa: PLC0415 - the other process must not have it

    folder = Path(next(iter(v3.__path__)))
    files = [importlib.import_module(f"{v3.__name__}.{one.stem}").DESCRIPTOR for one in folder.glob("*_pb2.py")]
    found = [one for file in files for one in file.message_types_by_name.values()]
    return {ELSEWHERE.get(one.full_name, one.full_name): fields(one) for top in found for one in nested(top)}


def theirs(names: list[str]) -> dict[str, dict[str, list[Any]]]:
    """Of the packages in which these are."""
    roots = [Path(place) for place in sys.path if place]
    found: list[Descriptor] = []
    packages = {".".join(part for part in name.split(".") if part[:1].islower()) for name in names}
    for package in sorted(packages):
        files = [file for root in roots for file in (root / package.replace(".", "/")).glob("*_pb2.py")]
        for stem in sorted({file.stem for file in files}):
            found += importlib.import_module(f"{package}.{stem}").DESCRIPTOR.message_types_by_name.values()
    return {one.full_name: fields(one) for top in found for one in nested(top)}


def nested(message: Descriptor) -> Iterator[Descriptor]:
    """The message and all in it."""
    yield message
    for one in message.nested_types:
        yield from nested(one)


def fields(message: Descriptor) -> dict[str, list[Any]]:
    """Number, kind, whether it is a list, and of what, by name."""
    return {one.name: [one.number, one.type, one.is_repeated, _type(one)] for one in message.fields}


def _type(field: FieldDescriptor) -> str:
    inner = field.message_type or field.enum_type
    return ELSEWHERE.get(inner.full_name, inner.full_name) if inner is not None else ""


if __name__ == "__main__":
    print(json.dumps(theirs(sys.argv[2:])))
