"""Settings of the supervisor, table [supervisor]."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from forgemesh.chassis.service import ServiceSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorSettings(ServiceSettings):
    """
    Which hosts to run and what to tell them.

    `plugins` is the file with the [plugins.*] tables, `owner_key` a file with a secret that is made at the first start:
    who has it may take over the registrations of these hosts. `grace` (seconds) is what a host has to end in good
    order before its process group is killed; `parallel_starts` is how many may be starting at a time.
    """

    listen: str = "127.0.0.1:7404"
    health_listen: str = "127.0.0.1:7504"
    plugins: Path = Path("forgemesh.toml")
    registry: str = "127.0.0.1:7402"
    traces: str = "127.0.0.1:7405"
    log_directory: Path = Path(".forgemesh/logs")
    owner_key: Path = Path(".forgemesh/supervisor.key")
    grace: float = 8.0
    parallel_starts: int = 3

    def __post_init__(self) -> None:
        ServiceSettings.__post_init__(self)
        if self.parallel_starts < 1:
            raise ValueError(f"parallel_starts = {self.parallel_starts} is below 1")
