"""The environment of a host: what it needs, what its section says, and nothing else of ours."""

from __future__ import annotations

import os
from collections.abc import Mapping

from forgemesh.plugin_host.supervisor.config import HostPlan
from forgemesh.plugin_host.supervisor.settings import SupervisorSettings

PASSED_ON = frozenset(
    ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "OTEL_EXPORTER_OTLP_ENDPOINT")
)
PASSED_ON_BY_START = ("LC_", "FORGEMESH_HOST_")


def host_environment(
    plan: HostPlan, settings: SupervisorSettings, ours: Mapping[str, str], owner_token: str
) -> dict[str, str]:
    """
    The allow-listed part of `ours`, over that the section's `inherit` and `environment`, over that who the host is.

    A host that gets the owner token of its predecessor takes over its registration at once.
    """
    passed_on = {
        name: value for name, value in ours.items() if name in PASSED_ON or name.startswith(PASSED_ON_BY_START)
    }
    inherited = {name: ours[name] for name in plan.inherit if name in ours}
    identity = {
        "FORGEMESH_HOST_LOAD": plan.load,
        "FORGEMESH_HOST_PATH": os.pathsep.join(plan.directories),
        "FORGEMESH_HOST_INSTANCE_ID": plan.instance_id,
        "FORGEMESH_HOST_NAME": plan.name,
        "FORGEMESH_HOST_OWNER_TOKEN": owner_token,
        "FORGEMESH_HOST_REGISTRY": settings.registry,
        "FORGEMESH_HOST_TRACES": settings.traces,
        "PYTHONUNBUFFERED": "1",
    }
    return passed_on | inherited | dict(plan.environment) | identity
