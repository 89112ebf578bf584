"""What to type next where a service of the mesh cannot be reached: that depends on where the mesh runs."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping

from forgemesh.faults.service import ServiceUnreachable

IN_KUBERNETES = "KUBERNETES_SERVICE_HOST"
"""Every container of a pod has this in its environment."""
SERVICES = frozenset({"registry", "balancer", "orchestrator", "traces"})
"""Those that are Services of a cluster under these names, and whose pods say so."""


def unreachable(
    service: str, address: str, cause: str, environment: Mapping[str, str] = os.environ
) -> ServiceUnreachable:
    """The fault of a service that does not answer at `address` (host:port), with the next command."""
    return ServiceUnreachable(service, address, cause, next_command(service, address, environment))


def next_command(service: str, address: str, environment: Mapping[str, str] = os.environ) -> str:
    """How to find out why nobody answers, or to make somebody answer."""
    named = f"-l app.kubernetes.io/name={service}" if service in SERVICES else "-l app.kubernetes.io/part-of=forgemesh"
    if is_in_kubernetes(environment):
        return f"look at its pods with `kubectl get pods {named}`, or name another address in the settings"
    if not is_on_this_machine(address):
        return (
            f"look whether it runs there, in a cluster with `kubectl get pods {named}`, or name another one with"
            " --address or FORGEMESH_ADDRESS"
        )
    return "start a mesh with `forgemesh up`, or name a running one with --address or FORGEMESH_ADDRESS"


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
