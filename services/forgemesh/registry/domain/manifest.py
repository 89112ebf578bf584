"""What a plugin version says of itself, as far as the registry decides by it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TypeAlias

Key: TypeAlias = tuple[str, str]
"""Plugin id and version."""


@dataclass(frozen=True, slots=True)
class Provided:
    """An interface at the version that is fulfilled."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Requirement:
    """A plugin, or any provider of an interface, in a range of versions; exactly one of the two is named."""

    plugin_id: str = ""
    interface: str = ""
    version_range: str = ""

    @property
    def target(self) -> str:
        """What is wanted, for people."""
        return self.plugin_id or f"a provider of {self.interface}"

    def __str__(self) -> str:
        named = self.plugin_id or f"interface {self.interface}"
        return f"{named} {self.version_range}".rstrip()


@dataclass(frozen=True, slots=True)
class Dependency:
    """What a plugin version needs or, if optional, would like."""

    requirement: Requirement
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Manifest:
    """One version of a plugin; `content` is everything its author says about it, in a form that compares by bytes."""

    plugin_id: str
    version: str
    content: bytes = b""
    provides: tuple[Provided, ...] = ()
    dependencies: tuple[Dependency, ...] = ()
    priority: int = 0
    operations: tuple[str, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> Key:
        """What identifies it."""
        return self.plugin_id, self.version

    @property
    def digest(self) -> str:
        """32 hex digits that stand for the whole of it."""
        return hashlib.sha256(self.content).hexdigest()[:32]

    def __str__(self) -> str:
        return f"{self.plugin_id} {self.version}"
