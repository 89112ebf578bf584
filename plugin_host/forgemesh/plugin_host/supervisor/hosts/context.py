"""What all host runners of one supervisor share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from forgemesh.chassis.steady_clock import SteadyClock
from forgemesh.plugin_host.supervisor.hosts.host import Host
from forgemesh.plugin_host.supervisor.hosts.process_run import ProcessRun
from forgemesh.plugin_host.supervisor.plan.plan import PluginPlan
from forgemesh.plugin_host.supervisor.processes.runner import Runner
from forgemesh.plugin_host.supervisor.settings import SupervisorSettings
from forgemesh.plugin_host.supervisor.state.reattach_store import ReattachStore


class Registrant(Protocol):
    """Whose registration it is: an instance, what it runs, and by which tokens it is told from others."""

    plan: PluginPlan
    host: Host
    tenure: str

    @property
    def instance_id(self) -> str:
        """Its instance."""

    @property
    def owner_token(self) -> str:
        """With which its registration is made and ended."""


class Registrar(Protocol):
    """Looks after what a process leaves to its supervisor: health and registration."""

    async def run(self, registrant: Registrant, process_run: ProcessRun) -> None:
        """Until cancelled; sets `process_run.serving` once the instance is registered."""


@dataclass(slots=True, kw_only=True)
class SupervisorContext:
    """What all host runners of one supervisor share; `address` is where hosts call back."""

    settings: SupervisorSettings
    key: bytes
    slots: asyncio.Semaphore
    registrar: Registrar
    reattach_store: ReattachStore
    runner: Runner
    registry_is_there: Callable[[], bool] = lambda: True
    address: str = ""
    orphaned: bool = False
    clock: Callable[[], float] = field(default_factory=lambda: SteadyClock().seconds)
    """Unix seconds that run evenly: a pause is as long as it is said to be, whatever is done to the wall clock."""
