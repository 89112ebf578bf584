"""Settings of the trace store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from forgemesh.chassis.service import ServiceSettings
from forgemesh.traces.domain.retention import Retention


@dataclass(frozen=True, slots=True, kw_only=True)
class TracesSettings(ServiceSettings):
    """
    Section [traces].

    A trace goes `max_age_seconds` after its newest span came, or earlier, first come first, to keep no more than
    `max_spans` spans in all.
    """

    listen: str = "127.0.0.1:7405"
    health_listen: str = "127.0.0.1:7505"
    database: Path = Path(".forgemesh/traces.db")
    max_age_seconds: float = 7 * 24 * 3600.0
    max_spans: int = 1_000_000

    def __post_init__(self) -> None:
        ServiceSettings.__post_init__(self)  # a slotted dataclass has no zero-argument super()
        for name in ("max_age_seconds", "max_spans"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} = {getattr(self, name)} must be more than zero")

    def retention(self) -> Retention:
        """How long traces are kept."""
        return Retention(self.max_age_seconds, self.max_spans)
