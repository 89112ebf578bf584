"""What runs in a container, as the code has it: its settings, its ports, the names of its health."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from forgemesh.balancer.settings import BalancerSettings
from forgemesh.chassis.service import ServiceSettings
from forgemesh.chassis.settings import SettingsError, load_settings
from forgemesh.orchestrator.settings import OrchestratorSettings
from forgemesh.plugin_host.settings import HostSettings
from forgemesh.registry.settings import RegistrySettings
from forgemesh.traces.settings import TracesSettings
from tests.component.k8s.manifests import Document, Manifests, Workload

PROGRAMS: dict[str, tuple[str, type[ServiceSettings]]] = {
    "forgemesh.registry.main": ("registry", RegistrySettings),
    "forgemesh.balancer.main": ("balancer", BalancerSettings),
    "forgemesh.orchestrator.main": ("orchestrator", OrchestratorSettings),
    "forgemesh.traces.main": ("traces", TracesSettings),
    "forgemesh.plugin_host.main": ("host", HostSettings),
}
OTHERS = {"OTEL_EXPORTER_OTLP_ENDPOINT", "FORGEMESH_ADDRESS"}
"""Variables that are nobody's setting, see docs/operations.md."""
PEERS = ("registry", "balancer", "traces", "supervisor")
FILES = ("database", "owner_token_file", "owner_key_file", "config", "running_calls")
"""Settings that name a file."""


@dataclasses.dataclass(frozen=True)
class Process:
    """A container that runs a program of the mesh; `settings` are None if they cannot be read."""

    workload: Workload
    container: Document
    section: str
    environment: dict[str, str]
    settings: ServiceSettings | None
    mistakes: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"{self.workload.title}, container {self.container.get('name')}"

    def value(self, name: str) -> Any:
        """A setting; empty if this process has none of that name."""
        return getattr(self.settings, name, "")

    def port(self, name: str) -> int:
        """The port of an address among the settings."""
        return int(str(self.value(name)).rpartition(":")[2] or 0)


def processes(manifests: Manifests) -> Iterator[Process]:
    """Every container that runs a program of the mesh."""
    for workload in manifests.workloads:
        for container in workload.containers:
            program = next((word for word in container.get("command", ()) if word in PROGRAMS), None)
            if program is not None:
                yield _process(manifests, workload, container, program)


def _process(manifests: Manifests, workload: Workload, container: Document, program: str) -> Process:
    section, settings = PROGRAMS[program]
    environment = manifests.environment(workload, container)
    try:
        read = load_settings(settings, section=section, environment=environment)
    except SettingsError as error:
        return Process(workload, container, section, environment, None, tuple(error.problems))
    return Process(workload, container, section, environment, read, ())


def settings_problems(manifests: Manifests) -> Iterator[str]:
    """Commands that start nothing, settings that do not exist, values that are none, addresses and files of nobody."""
    yield from _unknown_commands(manifests)
    for process in processes(manifests):
        yield from (f"{process.title}: {mistake}" for mistake in process.mistakes)
        yield from _foreign_variables(process)
        if process.settings is not None:
            yield from _addresses(manifests, process)
            yield from _files(process)


def _unknown_commands(manifests: Manifests) -> Iterator[str]:
    for workload in manifests.workloads:
        for container in workload.containers:
            for word in container.get("command", ()):
                if word.startswith("forgemesh.") and word not in PROGRAMS:
                    yield f"{workload.title}: no program is called {word}{_close(word, PROGRAMS)}"


def _foreign_variables(process: Process) -> Iterator[str]:
    own = f"FORGEMESH_{process.section.upper()}_"
    for name in process.environment:
        if name.startswith(("FORGEMESH_", "OTEL_")) and not name.startswith(own) and name not in OTHERS:
            yield f"{process.title}: {name} is no setting of this process{_close(name, OTHERS)}"


def _addresses(manifests: Manifests, process: Process) -> Iterator[str]:
    asked = {name: str(process.value(name)) for name in PEERS if process.value(name)}
    asked |= {name: process.environment[name] for name in OTHERS if name in process.environment}
    for name, address in asked.items():
        if manifests.behind(address) is None:
            yield f"{process.title}: {name} = {address} leads to no port of a Service"
    for name in ("listen", "health_listen"):
        if not str(process.value(name)).startswith("0.0.0.0:"):
            yield f"{process.title}: {name} = {process.value(name)}: neither other pods nor the kubelet get there"


def _files(process: Process) -> Iterator[str]:
    """The root file system cannot be written, and what is to be kept lies on a volume of its own."""
    mounts = {mount["mountPath"]: mount["name"] for mount in process.container.get("volumeMounts", ())}
    claims = {claim["metadata"]["name"] for claim in process.workload.spec.get("volumeClaimTemplates", ())}
    for name in FILES:
        path = str(process.value(name))
        if not path:
            continue
        folders = [str(folder) for folder in PurePosixPath(path).parents if str(folder) in mounts]
        if not folders:
            yield f"{process.title}: {name} = {path} lies on no volume"
        elif name == "database" and mounts[folders[0]] not in claims:
            yield f"{process.title}: database = {path} lies on a volume that goes with the pod"


def _close(name: str, names: Any) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f", did you mean {close[0]}?" if close else ""
