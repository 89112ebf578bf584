"""The published plugin versions as a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from semantic_version import Version

from forgemesh.faults.registry import ManifestConflict

Key: TypeAlias = tuple[str, str]
"""Plugin id and version."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One version of a plugin; `content` is everything its author says about it, in a form that compares by bytes."""

    plugin_id: str
    version: str
    content: bytes

    @property
    def key(self) -> Key:
        """What identifies it."""
        return self.plugin_id, self.version


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every manifest that was ever published; they never change and never leave."""

    manifests: Mapping[Key, Manifest] = field(default_factory=dict)

    def publish(self, manifest: Manifest) -> bool:
        """Whether it is new; raises ManifestConflict if another manifest has this id and version."""
        present = self.manifests.get(manifest.key)
        if present is not None and present != manifest:
            raise ManifestConflict(manifest.plugin_id, manifest.version)
        return present is None

    def after(self, manifest: Manifest) -> Catalogue:
        """The catalogue with the manifest in it."""
        return replace(self, manifests={**self.manifests, manifest.key: manifest})

    def page(self, plugin_id: str, after: Key | None, size: int) -> tuple[Sequence[Manifest], bool]:
        """Up to `size` manifests that follow `after`, by id and precedence of version, and whether there are more."""
        found = [m for m in self.manifests.values() if not plugin_id or m.plugin_id == plugin_id]
        keyed = sorted((_precedence(manifest.key), manifest) for manifest in found)
        rest = [manifest for place, manifest in keyed if after is None or place > _precedence(after)]
        return rest[:size], len(rest) > size


def _precedence(key: Key) -> tuple[Any, ...]:
    """Versions that differ in build metadata alone have the same precedence: their text decides."""
    plugin_id, version = key
    return plugin_id, Version(version).precedence_key, version
