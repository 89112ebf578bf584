"""Settings of the registry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from forgemesh.chassis.service import ServiceSettings
from forgemesh.registry.domain.leases import LONGEST, SHORTEST


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings(ServiceSettings):
    """
    `lease` (seconds) is what an instance gets that asks for none; `bookmark` (seconds) is how often a quiet watch
    says that it is alive; a watch can be resumed from any of the last `remembered_changes` changes. At most
    `max_instances` are registered, fewer if a process may not have as many files open, at most
    `max_instances_per_peer` by one host and `max_instances_per_plugin` of one plugin.
    """

    listen: str = "127.0.0.1:7402"
    health_listen: str = "127.0.0.1:7502"
    database: Path = Path(".forgemesh/registry.db")
    lease: float = 15.0
    bookmark: float = 1.0
    remembered_changes: int = 1000
    max_instances: int = 2000
    max_instances_per_peer: int = 200
    max_instances_per_plugin: int = 200

    def __post_init__(self) -> None:
        ServiceSettings.__post_init__(self)
        if not SHORTEST <= self.lease <= LONGEST:
            raise ValueError(f"lease = {self.lease:g} must lie between {SHORTEST:g} and {LONGEST:g} seconds")
        if self.bookmark <= 0:
            raise ValueError(f"bookmark = {self.bookmark:g} must be more than 0 seconds")
        for name in ("remembered_changes", "max_instances", "max_instances_per_peer", "max_instances_per_plugin"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
