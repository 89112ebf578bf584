"""Settings of the orchestrator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from forgemesh.chassis.service import ServiceSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestratorSettings(ServiceSettings):
    """
    Addresses are host:port; `traces` and `supervisor` may be empty, `advertise` is what GetMesh names for itself.

    `max_in_flight` calls of plugins run at once; 0 is no limit.
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

    def __post_init__(self) -> None:
        ServiceSettings.__post_init__(self)
        if self.max_in_flight < 0:
            raise ValueError(f"max_in_flight = {self.max_in_flight} is below 0; 0 is no limit")
