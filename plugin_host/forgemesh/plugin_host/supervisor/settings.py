"""Settings of the supervisor, table [supervisor]."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from forgemesh.chassis.service import ServiceSettings
from forgemesh.plugin_host.supervisor.plan.restart import RestartRule


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorSettings(ServiceSettings):
    """
    Which hosts to run and what to tell them.

    `plugins` is the file with the [plugins.*] tables, `owner_key` a file with a secret that is made at the first start:
    who has it may take over the registrations of these hosts. `grace` (seconds) is what a host has to end in good
    order before its process group is killed; `parallel_starts` is how many may be starting at a time. A plugin has
    `crash_budget` crashes within `crash_window` (seconds) unless its section says otherwise, and a call that
    has ended `poison_after` of its processes is not run again; 0 is never. `state` is a file that
    says which processes a successor may find again, and `reattach_seconds` for how long they wait for one. A host that
    is silent for `silence` seconds is ended; with 0 none is, so that a debugger may stop it.
    """

    listen: str = "127.0.0.1:7404"
    health_listen: str = "127.0.0.1:7504"
    plugins: Path = Path("forgemesh.toml")
    registry: str = "127.0.0.1:7402"
    traces: str = "127.0.0.1:7405"
    log_directory: Path = Path(".forgemesh/logs")
    owner_key: Path = Path(".forgemesh/supervisor.key")
    state: Path = Path(".forgemesh/supervisor.json")
    grace: float = 8.0
    parallel_starts: int = 3
    crash_budget: int = 5
    crash_window: float = 600.0
    poison_after: int = 3
    reattach_seconds: float = 60.0
    silence: int = 30

    def __post_init__(self) -> None:
        ServiceSettings.__post_init__(self)
        for name, least in (
            ("parallel_starts", 1),
            ("crash_budget", 1),
            ("crash_window", 1),
            ("poison_after", 0),
            ("reattach_seconds", 1),
            ("silence", 0),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} = {getattr(self, name)} is below {least}")

    @property
    def restart(self) -> RestartRule:
        """The rule for plugins that have none of their own."""
        return RestartRule(crashes=self.crash_budget, within=self.crash_window, poison_after=self.poison_after)

    @property
    def address_file(self) -> Path:
        """Where a supervisor says where it listens."""
        return self.state.with_suffix(".address")

    @property
    def journal(self) -> Path:
        """Where it is noted what is being changed."""
        return self.state.with_suffix(".changes")
