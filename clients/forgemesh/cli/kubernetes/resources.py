"""What a pod of a plugin is given and may use, each number with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass

from forgemesh.cli.kubernetes.workload import Limits

_MEBIBYTE = 2**20
LEAST_MEMORY = 96
"""MiB; a host with a small plugin holds 55 MiB at rest."""
MOST_MEMORY = 256
"""MiB that a plugin may use which does not say."""
LEAST_CPU = 100
"""Thousandths of a core."""
_ROOM = 32
"""MiB that the kernel leaves beyond a plugin's own bound at least, an eighth of the bound if that is more."""


@dataclass(frozen=True, slots=True)
class Resources:
    """`requests` and `limits` as a container has them, and why."""

    requests: dict[str, str]
    limits: dict[str, str]
    reason: str


def resources_of(limits: Limits) -> Resources:
    """From the plugin's limits where it says some, else what a small plugin needs."""
    memory_request, memory_limit, memory_reason = _memory(limits.memory_bytes)
    requests, most = {"cpu": _cores(limits), "memory": f"{memory_request}Mi"}, {"memory": f"{memory_limit}Mi"}
    if limits.cpu_millis:
        cpu_reason = f"cpu: {limits.cpu_millis}m, the plugin's own limit, requested as a whole"
        most = {"cpu": f"{limits.cpu_millis}m", **most}
    else:
        cpu_reason = (
            f"cpu: {LEAST_CPU}m is what a host needs for probes, leases and small calls; no limit, because a host that"
            " is held back answers health checks late"
        )
    return Resources(requests, most, f"{memory_reason}. {cpu_reason}.")


def _memory(bound: int) -> tuple[int, int, str]:
    """MiB that are requested, MiB that are allowed, and why."""
    if not bound:
        given = f"{LEAST_MEMORY}Mi holds a small plugin, which needs 55Mi at rest"
        return LEAST_MEMORY, MOST_MEMORY, f"memory: {given}; {MOST_MEMORY}Mi bounds one that says no limit of its own"
    own = math.ceil(bound / _MEBIBYTE)
    most = own + max(_ROOM, own // 8)
    requested = min(most, max(LEAST_MEMORY, own // 2))
    return requested, most, f"memory: the host ends at {own}Mi, the plugin's own limit, and says so, before {most}Mi"


def _cores(limits: Limits) -> str:
    return f"{limits.cpu_millis or LEAST_CPU}m"
