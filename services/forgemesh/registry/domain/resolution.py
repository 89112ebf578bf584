"""Plugin versions that belong together, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forgemesh.registry.domain.manifest import Manifest, Requirement


@dataclass(frozen=True, slots=True)
class Wish:
    """A requirement and who has it: None is the request itself."""

    requirement: Requirement
    by: Manifest | None = None
    optional: bool = False

    def __str__(self) -> str:
        wanted = self.requirement.version_range or "any version"
        interface = f"{self.requirement.interface} " if self.requirement.interface else ""
        return f"{self.by or 'the request'} wants {interface}{wanted}"


@dataclass(frozen=True, slots=True)
class Resolved:
    """A plugin version, from which level on it can start, who asked for it and what of the resolution it needs."""

    manifest: Manifest
    level: int
    wishes: Sequence[Wish]
    needs: Sequence[str]


@dataclass(frozen=True, slots=True)
class Dropped:
    """An optional dependency that is left out, and why."""

    plugin_id: str
    target: str
    reason: str


@dataclass(frozen=True, slots=True)
class Resolution:
    """Everything that is needed, each before what needs it."""

    plugins: Sequence[Resolved]
    dropped: Sequence[Dropped] = ()
