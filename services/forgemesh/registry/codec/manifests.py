"""Manifests between the API and the domain."""

from __future__ import annotations

from forgemesh.api.plugin.v1 import manifest_pb2 as pb
from forgemesh.registry.domain.catalogue import Manifest


def from_message(message: pb.Manifest) -> Manifest:
    """
    A manifest with its content in deterministic form.

    That form is the same for equal manifests in one process only: what was stored by another release is brought into
    it by parsing and encoding it again.
    """
    return Manifest(message.plugin_id, message.version, message.SerializeToString(deterministic=True))


def to_message(manifest: Manifest) -> pb.Manifest:
    """The manifest as its author published it."""
    return pb.Manifest.FromString(manifest.content)
