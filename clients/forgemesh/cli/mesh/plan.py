"""Which services a local mesh has, in which order they start, where they listen and what they are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
HEALTH_OFFSET = 100
PLUGINS = "plugins"


@dataclass(frozen=True, slots=True)
class Service:
    """One process: `port` is the default one, `needs` are the services whose addresses it is told."""

    name: str
    module: str
    port: int
    needs: tuple[str, ...] = ()
    database: bool = False


TRACES = Service("traces", "forgemesh.traces.main", 7405, database=True)
REGISTRY = Service("registry", "forgemesh.registry.main", 7402, database=True)
BALANCER = Service("balancer", "forgemesh.balancer.main", 7403, needs=("registry",), database=True)
SUPERVISOR = Service("supervisor", "forgemesh.plugin_host.supervisor.main", 7404, needs=("registry", "traces"))
ORCHESTRATOR = Service(
    "orchestrator",
    "forgemesh.orchestrator.main",
    7401,
    needs=("balancer", "registry", "traces", "supervisor"),
    database=True,
)

SERVICES = (TRACES, REGISTRY, BALANCER, SUPERVISOR, ORCHESTRATOR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    What the person who starts the mesh wants.

    `tables` is the content of `config`; what a service's own table or the environment says wins over the plan's
    defaults. `any_port` lets every service listen where the system wants. With `reload` plugins are still being
    written: what they offer may change without another version.
    """

    data: Path
    tables: Mapping[str, Any]
    environment: Mapping[str, str]
    config: Path | None = None
    any_port: bool = False
    reload: bool = False

    @property
    def stages(self) -> tuple[tuple[Service, ...], ...]:
        """
        Services of one stage start together, once those of the stage before are ready.

        Without plugins there is nothing to supervise.
        """
        middle = (BALANCER, SUPERVISOR) if self.tables.get(PLUGINS) else (BALANCER,)
        return ((TRACES, REGISTRY), middle, (ORCHESTRATOR,))

    def arguments(self) -> list[str]:
        """What every service gets on its command line."""
        return ["--config", str(self.config)] if self.config else []

    def listens(self, service: Service) -> tuple[str, str]:
        """Where the service listens, and where for health alone; port 0 is any free port."""
        if self.any_port:
            return f"{HOST}:0", f"{HOST}:0"
        return (
            self._said(service, "listen") or f"{HOST}:{service.port}",
            self._said(service, "health_listen") or f"{HOST}:{service.port + HEALTH_OFFSET}",
        )

    def settings(self, service: Service, listens: tuple[str, str], addresses: Mapping[str, str]) -> dict[str, str]:
        """The environment of the service's process; `addresses` are those of the services that run already."""
        defaults = {name: addresses[name] for name in service.needs if name in addresses}
        if service.database:
            defaults["database"] = str(self.data / f"{service.name}.db")
        if service is SUPERVISOR:
            defaults["log_directory"] = str(self.data / "logs")
            defaults["owner_key"] = str(self.data / "supervisor.key")
            defaults["state"] = str(self.data / "supervisor.json")
            if self.config is not None:
                defaults["plugins"] = str(self.config)
        chosen = {name: value for name, value in defaults.items() if self._said(service, name) is None}
        chosen |= {"listen": listens[0], "health_listen": listens[1]}
        drafts = {"FORGEMESH_HOST_DRAFTS": "true"} if self.reload and service is SUPERVISOR else {}
        return {**self.environment, **drafts, **{_variable(service, name): value for name, value in chosen.items()}}

    def _said(self, service: Service, setting: str) -> str | None:
        named = self.environment.get(_variable(service, setting))
        table = self.tables.get(service.name)
        told = table.get(setting) if isinstance(table, dict) else None
        return named or (str(told) if told is not None else None)


def unknown_tables(tables: Mapping[str, Any]) -> list[str]:
    """Names at the top of a configuration that mean nothing."""
    known = {PLUGINS, *(service.name for service in SERVICES)}
    return sorted(name for name in tables if name not in known)


def _variable(service: Service, setting: str) -> str:
    return f"FORGEMESH_{service.name.upper()}_{setting.upper()}"
