"""What all keepers of one supervisor share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from forgemesh.chassis.steady_clock import SteadyClock
from forgemesh.plugin_host.supervisor.cgroup import Cgroups
from forgemesh.plugin_host.supervisor.guardian import Guardian
from forgemesh.plugin_host.supervisor.life import Life
from forgemesh.plugin_host.supervisor.settings import SupervisorSettings
from forgemesh.plugin_host.supervisor.survivors import Survivors
from forgemesh.plugin_host.supervisor.sweeper import Sweeper

if TYPE_CHECKING:
    from forgemesh.plugin_host.supervisor.keeper import Keeper


class Upkeep(Protocol):
    """Looks after what a process leaves to its supervisor: health and registration."""

    async def run(self, keeper: Keeper, life: Life) -> None:
        """Until cancelled; sets `life.serving` once the instance is registered."""


@dataclass(slots=True, kw_only=True)
class Surroundings:
    """What all keepers of one supervisor share; `address` is where hosts call back."""

    settings: SupervisorSettings
    key: bytes
    pipe: int
    slots: asyncio.Semaphore
    upkeep: Upkeep
    survivors: Survivors
    cgroups: Cgroups
    guardian: Guardian
    sweeper: Sweeper = field(default_factory=Sweeper)
    registry_is_there: Callable[[], bool] = lambda: True
    address: str = ""
    orphaned: bool = False
    clock: Callable[[], float] = field(default_factory=lambda: SteadyClock().seconds)
    """Unix seconds that run evenly: a pause is as long as it is said to be, whatever is done to the wall clock."""
