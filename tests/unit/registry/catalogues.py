"""Catalogues as short texts."""

from __future__ import annotations

from collections.abc import Iterable

from forgemesh.registry.domain.catalogue import Catalogue
from forgemesh.registry.domain.manifest import Dependency, Manifest, Provided, Requirement
from forgemesh.registry.domain.resolution import Resolution
from forgemesh.registry.domain.resolver import resolve
from forgemesh.registry.domain.rules import Rules


def requirement(text: str) -> Requirement:
    """`a ^1` is a plugin, `<x> ^1` an interface."""
    name, _, version_range = text.strip().partition(" ")
    if name.startswith("<"):
        return Requirement("", name.strip("<>"), version_range)
    return Requirement(name, "", version_range)


def manifest(text: str, *, provides: Iterable[str] = (), priority: int = 0) -> Manifest:
    """`a 1.0.0: b ^1; c?` needs b and would like c."""
    head, _, needs = text.partition(":")
    plugin_id, version = head.split()
    dependencies = [
        Dependency(requirement(one.replace("?", "")), optional="?" in one) for one in needs.split(";") if one.strip()
    ]
    provided = [Provided(*one.split("@")) for one in provides]
    return Manifest(plugin_id, version, provides=tuple(provided), dependencies=tuple(dependencies), priority=priority)


def catalogue(*manifests: str | Manifest) -> Catalogue:
    return Catalogue.of(manifest(one) if isinstance(one, str) else one for one in manifests)


def resolved(published: Catalogue, *wanted: str, rules: Rules | None = None) -> Resolution:
    return resolve(published, rules or Rules(), [requirement(one) for one in wanted])


def plan(published: Catalogue, *wanted: str, rules: Rules | None = None) -> list[str]:
    """What is taken, in order."""
    return [str(one.manifest) for one in resolved(published, *wanted, rules=rules).plugins]
