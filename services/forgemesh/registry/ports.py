"""What the registry needs from the world."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from forgemesh.registry.domain.catalogue import Catalogue
from forgemesh.registry.domain.changes import Change
from forgemesh.registry.domain.instances import Instances
from forgemesh.registry.domain.manifest import Manifest
from forgemesh.registry.domain.owners import Owners
from forgemesh.registry.domain.rules import Rules


@dataclass(frozen=True, slots=True)
class Stored:
    """Everything that outlives the process."""

    instances: Instances
    catalogue: Catalogue
    rules: Rules
    owners: Owners = field(default_factory=Owners)


class Store(Protocol):
    """Durable memory; what a method has written survives power loss once it has returned."""

    async def load(self) -> Stored:
        """What was saved; an epoch of its own and nothing else if nothing was."""

    async def save(self, changes: Sequence[Change], rules: Rules | None = None) -> None:
        """All of the changes, and other rules if there are any; or, raising StoreUnavailable, none of them."""

    async def publish(self, manifest: Manifest | None, owners: Owners | None = None) -> None:
        """Add a manifest whose id and version are new, and owners to those that there are; both or none."""

    async def next_balancer_epoch(self) -> int:
        """A number larger than every one before."""


class Clock(Protocol):
    """Time, and waiting for it."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""

    def wall(self) -> float:
        """Seconds since 1970."""

    async def wait(self, event: asyncio.Event, until: float | None) -> None:
        """Return when `event` is set, or when the monotonic clock shows `until`."""
