"""Manifests between the API and the domain."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from forgemesh.api.plugin.v1 import manifest_pb2 as pb
from forgemesh.language.schema_patterns import patterns_in, read_schema, unreadable_pattern
from forgemesh.registry.domain.manifest import Dependency, Manifest, Provided, Requirement


def from_message(message: pb.Manifest) -> Manifest:
    """
    A manifest with its content in deterministic form.

    That form is the same for equal manifests in one process only: what was stored by another release is brought into
    it by parsing and encoding it again.
    """
    return Manifest(
        plugin_id=message.plugin_id,
        version=message.version,
        content=message.SerializeToString(deterministic=True),
        provides=tuple(Provided(one.name, one.version) for one in message.provides),
        dependencies=tuple(
            Dependency(Requirement(one.plugin_id, one.interface_name, one.version_range), one.optional)
            for one in message.dependencies
        ),
        priority=message.priority,
        operations=tuple(one.name for one in message.operations),
        metadata=tuple(sorted(message.metadata.items())),
    )


def unreadable_patterns(message: pb.Manifest) -> Iterator[tuple[str, str]]:
    """Where a schema has a pattern that RE2 cannot read, and why."""
    for place, schema in _schemas(message):
        cause = unreadable_pattern(schema)
        if cause:
            yield place, cause


def patterns_of(message: pb.Manifest) -> Iterator[str]:
    """All patterns in all schemas."""
    for _, schema in _schemas(message):
        for _, pattern in patterns_in(schema):
            yield pattern


def _schemas(message: pb.Manifest) -> Iterator[tuple[str, Any]]:
    """With their places; what is no schema checks nothing."""
    texts = [("config_schema", message.config_schema)]
    for index, one in enumerate(message.operations):
        texts += [(f"operations[{index}].{side}", getattr(one, side)) for side in ("input_schema", "output_schema")]
    for place, text in texts:
        with contextlib.suppress(ValueError):
            yield place, read_schema(text or "{}")


def to_message(manifest: Manifest) -> pb.Manifest:
    """The manifest as its author published it."""
    return pb.Manifest.FromString(manifest.content)
