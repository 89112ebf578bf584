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
    says that it is alive; a watch can be resumed from any of the last `remembered_changes` changes.
    """

    listen: str = "127.0.0.1:7402"
    health_listen: str = "127.0.0.1:7502"
    database: Path = Path(".forgemesh/registry.db")
    lease: float = 15.0
    bookmark: float = 1.0
    remembered_changes: int = 1000

    def __post_init__(self) -> None:
        ServiceSettings.__post_init__(self)
        if not SHORTEST <= self.lease <= LONGEST:
            raise ValueError(f"lease = {self.lease:g} must lie between {SHORTEST:g} and {LONGEST:g} seconds")
        if self.bookmark <= 0:
            raise ValueError(f"bookmark = {self.bookmark:g} must be more than 0 seconds")
        if self.remembered_changes < 1:
            raise ValueError(f"remembered_changes = {self.remembered_changes} must be at least 1")
