"""Settings of the balancer."""

from __future__ import annotations

from dataclasses import dataclass

from forgemesh.chassis.service import ServiceSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancerSettings(ServiceSettings):
    """
    `registry` is host:port; its watch counts as broken after `registry_silence` seconds without even a bookmark. An
    empty `database` keeps nothing: policies and forced circuits last as long as the process.

    Each instance is asked for its health every `health_interval` seconds, must answer within `health_deadline`, is out
    after `misses` times of silence, and in again after `passes` answers. One that answers and has no grpc.health.v1
    serves if `trust_without_health` says so. Changes of `coalesce` seconds go out together; subscribers hear a
    heartbeat every `heartbeat` seconds. `first_checks` seconds after the first sync with the registry the feed opens,
    even if an instance has not answered yet, and, if it has no `database` but is not the first balancer of the mesh,
    not before `adoption` seconds, so that subscribers, who try again within three, can tell it what they know of
    circuits.

    At most `xds_streams` stock clients follow at a time, no more than half of them from one host (0: xDS is not
    served); each may name `xds_names` plugins.
    """

    listen: str = "127.0.0.1:7403"
    health_listen: str = "127.0.0.1:7503"
    registry: str = "127.0.0.1:7402"
    database: str = ".forgemesh/balancer.db"
    registry_silence: float = 4.0
    health_interval: float = 1.0
    health_deadline: float = 1.0
    misses: int = 2
    passes: int = 1
    trust_without_health: bool = False
    coalesce: float = 0.02
    heartbeat: float = 1.0
    first_checks: float = 1.0
    adoption: float = 4.0
    xds_streams: int = 1000
    xds_names: int = 500

    def __post_init__(self) -> None:
        ServiceSettings.__post_init__(self)
        for name in ("registry_silence", "health_interval", "health_deadline", "heartbeat"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} = {getattr(self, name):g} must be more than 0 seconds")
        for name in ("misses", "passes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
        if self.xds_streams < 0 or self.xds_names < 1:
            raise ValueError(
                f"xds_streams = {self.xds_streams} must not be negative, and xds_names = {self.xds_names} at least 1"
            )
        if min(self.coalesce, self.first_checks, self.adoption) < 0:
            raise ValueError("coalesce, first_checks and adoption must not be negative")
