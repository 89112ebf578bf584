"""Settings of a plugin host, table [host]."""

from __future__ import annotations

import os
from dataclasses import dataclass

from forgemesh.chassis.service import ServiceSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings(ServiceSettings):
    """
    What to load, who to be, whom to tell; times are seconds.

    `load` is "module:Class", `path` holds the directories to look in first, as in PYTHONPATH. Without `instance_id`
    one is made up from the plugin's id. `advertise` is the host name that others reach this one by; empty means the
    one it listens on. An empty `registry` means not to register, an empty `traces` not to send spans there. An
    `owner_token` lets a restarted process take over the registration of its predecessor.
    """

    load: str
    listen: str = "127.0.0.1:0"
    health_listen: str = "127.0.0.1:0"
    path: str = ""
    instance_id: str = ""
    name: str = ""
    advertise: str = ""
    registry: str = ""
    traces: str = ""
    queue_limit: int = 64
    lease_ttl: float = 15.0
    owner_token: str = ""

    def __post_init__(self) -> None:
        ServiceSettings.__post_init__(self)
        module, _, name = self.load.partition(":")
        if not module or not name:
            raise ValueError(f'load = {self.load!r} is not "module:Class"')
        if self.queue_limit < 0:
            raise ValueError(f"queue_limit = {self.queue_limit} is below 0")
        if not 1 <= self.lease_ttl <= 600:
            raise ValueError(f"lease_ttl = {self.lease_ttl:g} is not between 1 and 600 seconds")

    @property
    def directories(self) -> list[str]:
        """Where to look for the plugin before anywhere else."""
        return [directory for directory in self.path.split(os.pathsep) if directory]
