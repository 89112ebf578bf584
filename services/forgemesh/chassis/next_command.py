"""What to type next where a service of the mesh cannot be reached: that depends on where the mesh runs."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from enum import Enum

from forgemesh.faults.service import ServiceUnreachable

IN_KUBERNETES = "KUBERNETES_SERVICE_HOST"
"""Every container of a pod has this in its environment."""
SERVICES = frozenset({"registry", "balancer", "orchestrator", "traces"})
"""Those that are Services of a cluster under these names, and whose pods say so."""
VARIABLES = {
    "registry": "FORGEMESH_REGISTRY",
    "balancer": "FORGEMESH_BALANCER",
    "supervisor": "FORGEMESH_SUPERVISOR",
    "traces": "FORGEMESH_TRACES",
    "orchestrator": "FORGEMESH_ADDRESS",
}
"""What says where a service is to whoever asks it, by service."""


class Unreached(Enum):
    """What is missing where a service should be: anybody at all, an answer, or this service."""

    NOBODY = "nobody listens"
    SILENT = "somebody listens and does not answer"
    OTHER = "somebody else listens"


def unreachable(
    service: str,
    address: str,
    cause: str,
    environment: Mapping[str, str] = os.environ,
    *,
    unreached: Unreached = Unreached.NOBODY,
) -> ServiceUnreachable:
    """The fault of a service that does not answer at `address` (host:port), with the next command."""
    return ServiceUnreachable(service, address, cause, next_command(service, address, environment, unreached))


def unnamed(service: str, orchestrator: str) -> ServiceUnreachable:
    """The fault of a service that the orchestrator at this address does not know."""
    remedy = f"set FORGEMESH_ORCHESTRATOR_{service.upper()} for it, and start it again"
    return ServiceUnreachable(service, orchestrator, "the orchestrator there knows of none", remedy)


def next_command(
    service: str, address: str, environment: Mapping[str, str] = os.environ, unreached: Unreached = Unreached.NOBODY
) -> str:
    """How to find out why nobody answers, or to make somebody answer."""
    named = f"-l app.kubernetes.io/name={service}" if service in SERVICES else "-l app.kubernetes.io/part-of=forgemesh"
    if is_in_kubernetes(environment):
        return f"look at its pods with `kubectl get pods {named}`, or name another address in the settings"
    variable = VARIABLES.get(service, "")
    if variable and environment.get(variable) == address:
        return f"{variable} says that it is there: correct that, or unset it"
    another = f", or name another one with {_option(service)}" if variable else ""
    if not is_on_this_machine(address):
        return f"look whether it runs there, in a cluster with `kubectl get pods {named}`{another}"
    return _on_this_machine(service, unreached) + another


def _on_this_machine(service: str, unreached: Unreached) -> str:
    """Only who finds no orchestrator may have no mesh: the other services are those of one that runs."""
    if unreached is Unreached.SILENT and service in VARIABLES:
        return (
            "its process is stopped or hangs; `forgemesh up` starts it again after 30 s of that, and its log says where"
            " it stood"
        )
    if unreached is Unreached.SILENT:
        return "its process is stopped or hangs; see `forgemesh plugin list` and `forgemesh plugin logs`"
    if unreached is Unreached.OTHER:
        return "see which port it has with `forgemesh status`"
    if service == "orchestrator":
        return "start a mesh with `forgemesh up`"
    return "the mesh runs without it: see what answers with `forgemesh status`, and in its log why it ended"


def _option(service: str) -> str:
    return f"--address or {VARIABLES[service]}" if service == "orchestrator" else VARIABLES[service]


def is_in_kubernetes(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process runs in a pod."""
    return IN_KUBERNETES in environment


def is_on_this_machine(address: str) -> bool:
    """Whether host:port is reached without leaving this machine, as far as the name says that."""
    host = address.rpartition(":")[0].strip("[]")
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
