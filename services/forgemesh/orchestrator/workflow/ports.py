"""What workflows ask of the world outside."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from forgemesh.orchestrator.workflow.definition import Definition
from forgemesh.orchestrator.workflow.provider import OperationFacts, Provider
from forgemesh.routing.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class StoredDefinition:
    """A definition and when it was registered (Unix nanoseconds)."""

    definition: Definition
    created_at: int


class Catalogue(Protocol):
    """What the registry knows about plugins. Raises faults.service.ServiceUnreachable when it does not answer."""

    async def plugins(self, plugin_id: str) -> dict[str, Mapping[str, OperationFacts]] | None:
        """The plugin's operations by version; None if it was never published."""

    async def providers(self, interfaces: Collection[str]) -> dict[str, list[Provider]]:
        """Every published plugin version that provides an interface, by interface: each of those asked for is there."""


class Instances(Protocol):
    """Which instances of plugins are registered now."""

    def snapshot(self, plugin_id: str) -> Snapshot | None:
        """The newest; None if no instance was ever known."""


class DefinitionStore(Protocol):
    """Keeps definitions. What it acknowledges is durable; raises faults.service.StoreUnavailable when it cannot."""

    async def keep_definition(self, definition: Definition, created_at: int) -> tuple[StoredDefinition, bool]:
        """The definition as kept, and whether it is new; raises DefinitionConflict."""

    async def definition(self, namespace: str, name: str, version: str) -> StoredDefinition | None:
        """The highest version if `version` is empty."""

    async def definitions(self, namespace: str, name: str) -> list[StoredDefinition]:
        """By name, highest version first; of versions that differ in their build alone, the newest first."""

    async def definition_names(self, namespace: str) -> list[str]: ...
