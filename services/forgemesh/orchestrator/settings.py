"""Settings of the orchestrator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from forgemesh.chassis.service import ServiceSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestratorSettings(ServiceSettings):
    """
    Addresses are host:port; `traces` and `supervisor` may be empty, `advertise` is what GetMesh names for itself.

    `max_in_flight` calls of plugins run at once; 0 is no limit. Executions that have ended are kept for `retention_age`
    seconds, and at most `retention_count` of them; 0 keeps them for ever, or any number of them. A workflow step starts
    no execution that would be further from the root of its family than `max_family_depth`, the root being the first,
    and none while `max_family_members` of the family are open.
    """

    listen: str = "127.0.0.1:7401"
    health_listen: str = "127.0.0.1:7501"
    database: Path = Path(".forgemesh/orchestrator.db")
    registry: str = "127.0.0.1:7402"
    balancer: str = "127.0.0.1:7403"
    supervisor: str = ""
    traces: str = ""
    advertise: str = ""
    max_in_flight: int = 10_000
    retention_age: float = 0.0
    retention_count: int = 0
    max_family_depth: int = 16
    max_family_members: int = 10_000

    def __post_init__(self) -> None:
        ServiceSettings.__post_init__(self)
        if self.retention_age < 0 or self.retention_count < 0:
            raise ValueError("retention_age and retention_count are not below 0; 0 keeps executions for ever")
        if self.max_in_flight < 0:
            raise ValueError(f"max_in_flight = {self.max_in_flight} is below 0; 0 is no limit")
        if self.max_family_depth < 1 or self.max_family_members < 1:
            raise ValueError("max_family_depth and max_family_members are at least 1: then no step starts an execution")
