"""The published plugin versions as a value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from semantic_version import Version

from forgemesh.faults.registry import ManifestConflict
from forgemesh.registry.domain.manifest import Key, Manifest


@dataclass(frozen=True, slots=True)
class Release:
    """A published manifest with its version as a value that has a precedence."""

    manifest: Manifest
    version: Any

    @classmethod
    def of(cls, manifest: Manifest) -> Release:
        """The manifest, its version parsed."""
        return cls(manifest, Version(manifest.version))

    def precedence(self) -> tuple[Any, ...]:
        """Versions that differ in build metadata alone have the same precedence: their text decides."""
        return *self.version.precedence_key, self.manifest.version


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every manifest that was ever published; they never change and never leave."""

    manifests: Mapping[Key, Manifest] = field(default_factory=dict)
    releases: Mapping[str, tuple[Release, ...]] = field(default_factory=dict)
    """By plugin, the highest version last."""
    providers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By interface, the ids of the plugins that provide it in any version, ordered."""

    @classmethod
    def of(cls, manifests: Iterable[Manifest]) -> Catalogue:
        """The catalogue with these manifests, whose ids and versions differ."""
        every = {manifest.key: manifest for manifest in manifests}
        releases: dict[str, list[Release]] = {}
        providers: dict[str, set[str]] = {}
        for manifest in every.values():
            releases.setdefault(manifest.plugin_id, []).append(Release.of(manifest))
            for provided in manifest.provides:
                providers.setdefault(provided.name, set()).add(manifest.plugin_id)
        return cls(
            every,
            {plugin_id: _ordered(found) for plugin_id, found in releases.items()},
            {name: tuple(sorted(found)) for name, found in providers.items()},
        )

    def publish(self, manifest: Manifest) -> bool:
        """Whether it is new; raises ManifestConflict if another manifest has this id and version."""
        present = self.manifests.get(manifest.key)
        if present is not None and present != manifest:
            raise ManifestConflict(manifest.plugin_id, manifest.version)
        return present is None

    def after(self, manifest: Manifest) -> Catalogue:
        """The catalogue with the manifest in it."""
        plugin_id = manifest.plugin_id
        releases = _ordered((*self.releases.get(plugin_id, ()), Release.of(manifest)))
        providers = {
            provided.name: tuple(sorted({*self.providers.get(provided.name, ()), plugin_id}))
            for provided in manifest.provides
        }
        return Catalogue(
            {**self.manifests, manifest.key: manifest},
            {**self.releases, plugin_id: releases},
            {**self.providers, **providers},
        )

    def page(self, plugin_id: str, after: Key | None, size: int) -> tuple[Sequence[Manifest], bool]:
        """Up to `size` manifests that follow `after`, by id and precedence of version, and whether there are more."""
        rest = [release.manifest for release in self._following(plugin_id, after)]
        return rest[:size], len(rest) > size

    def _following(self, plugin_id: str, after: Key | None) -> Iterator[Release]:
        wanted = [plugin_id] if plugin_id else sorted(self.releases)
        for one in wanted:
            if after is None or one > after[0]:
                yield from self.releases.get(one, ())
            elif one == after[0]:
                last = Release.of(Manifest(*after)).precedence()
                yield from (release for release in self.releases.get(one, ()) if release.precedence() > last)


def _ordered(releases: Iterable[Release]) -> tuple[Release, ...]:
    return tuple(sorted(releases, key=Release.precedence))
