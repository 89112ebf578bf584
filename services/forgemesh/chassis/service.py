"""What the settings and the start of every service have in common."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from forgemesh.chassis.descriptors import raise_descriptor_limit
from forgemesh.chassis.logs import configure_logs
from forgemesh.chassis.measuring import Measuring, measuring
from forgemesh.chassis.process import Stop, is_awaited, refusing_bad_settings, run_until_stopped
from forgemesh.chassis.refusing_service import refuse_all
from forgemesh.chassis.server import CONTROL_LIMIT, MOST_STREAMS, Listen, refuse_open_listener
from forgemesh.chassis.settings import load_settings
from forgemesh.chassis.version import VERSION
from forgemesh.faults.service import StoreTooNew

METRICS_OFFSET = 200
AUTO = "auto"
LOOPBACK, LAST_PORT = "127.0.0.1", 65_535
LONGEST_GRACE = 86_400.0
"""Seconds that a process may have to end in good order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """
    Settings that every service has; `listen` and `health_listen` are host:port, times are seconds.

    A subclass gives the two addresses their defaults. `metrics_listen` is where metrics are read, host:port, or empty
    for nowhere; AUTO is on this machine alone, at the port of `listen` plus METRICS_OFFSET.
    """

    listen: str
    health_listen: str
    metrics_listen: str = AUTO
    insecure: bool = False
    reflection: bool = False
    log_level: str = "INFO"
    drain_delay: float = 0.0
    grace: float = 5.0

    def __post_init__(self) -> None:
        self.listening()
        if self.metrics_listen not in ("", AUTO):
            if not self.metrics_listen.rpartition(":")[2].isdigit():
                raise ValueError(f"metrics_listen = {self.metrics_listen!r} is not host:port")
            refuse_open_listener("metrics_listen", self.metrics_listen, self.insecure)
        for name, length in (("drain_delay", self.drain_delay), ("grace", self.grace)):
            if not 0 <= length <= LONGEST_GRACE:
                raise ValueError(f"{name} = {length:g} is not between 0 and {LONGEST_GRACE:g} seconds")
        if not isinstance(logging.getLevelName(self.log_level.upper()), int):
            raise ValueError(f"log_level = {self.log_level!r} is none of DEBUG, INFO, WARNING, ERROR, CRITICAL")

    @property
    def metrics_address(self) -> str:
        """Where metrics are read; port 0 is any free one."""
        if self.metrics_listen != AUTO:
            return self.metrics_listen
        _, _, port = self.listen.rpartition(":")
        beside = int(port) + METRICS_OFFSET if port.isdigit() and port != "0" else 0
        return f"{LOOPBACK}:{beside if beside <= LAST_PORT else 0}"

    def listening(
        self,
        *,
        receive_limit: int = CONTROL_LIMIT,
        connection_age: float | None = None,
        streams: int = MOST_STREAMS,
    ) -> Listen:
        """How the service's server listens; raises ValueError for an open listener without `insecure`."""
        return Listen(
            address=self.listen,
            health_address=self.health_listen,
            insecure=self.insecure,
            reflection=self.reflection,
            receive_limit=receive_limit,
            drain_delay=self.drain_delay,
            grace=self.grace,
            connection_age=connection_age,
            streams=streams,
        )


S = TypeVar("S", bound=ServiceSettings)


def service_main(
    cls: type[S], section: str, run: Callable[[S, Measuring, Stop], Awaitable[None]], arguments: list[str] | None = None
) -> None:
    """
    Read the settings, configure the logs, run until stopped.

    `--config FILE` names a TOML file whose table `section` holds settings; FORGEMESH_<SECTION>_* win over it, and the
    two switches over both.
    """
    parser = argparse.ArgumentParser(prog=f"python -m forgemesh.{section}.main")
    parser.add_argument("--config", type=Path, help=f"TOML file with a table [{section}]")
    parser.add_argument("--reflection", action="store_true", help="serve gRPC reflection")
    parser.add_argument("--insecure", action="store_true", help="allow listening beyond this machine without TLS")
    given = parser.parse_args(arguments)
    environment = dict(os.environ)
    if given.insecure:
        environment[f"FORGEMESH_{section.upper()}_INSECURE"] = "true"
    with refusing_bad_settings():
        settings = load_settings(cls, section=section, environment=environment, file=given.config)
    if given.reflection:
        settings = replace(settings, reflection=True)
    configure_logs(f"forgemesh-{section}", settings.log_level)
    raise_descriptor_limit()
    run_until_stopped(lambda stop: _run(run, section, settings, stop))


async def _run(run: Callable[[S, Measuring, Stop], Awaitable[None]], section: str, settings: S, stop: Stop) -> None:
    """Whoever waits for the start hears why there is none; where nobody does, the process runs on and says it."""
    try:
        async with measuring(f"forgemesh-{section}", settings.metrics_address, version=VERSION) as measured:
            await run(settings, measured, stop)
    except StoreTooNew as fault:
        if is_awaited():
            raise
        await refuse_all(settings.listening(), fault, stop)
