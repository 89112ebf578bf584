"""The environment of a host: what it needs, what its section says, and nothing else of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from forgemesh.plugin.search_path import search_path
from forgemesh.plugin_host.supervisor.plan.plan import PluginPlan
from forgemesh.plugin_host.supervisor.settings import SupervisorSettings

PASSED_ON = frozenset(
    ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "OTEL_EXPORTER_OTLP_ENDPOINT")
)
PASSED_ON_BY_START = ("LC_", "FORGEMESH_HOST_")


HOST_SHARE = 0.8
"""Part of its grace that a host gives running calls; the rest is for its own farewell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """
    Who a process is, and where it calls back.

    `token` is good for one process, `tenure` names the host over all its processes. A host that gets the `owner_token`
    of its predecessor takes over its registration at once. In `running_calls` it writes down what runs.
    """

    instance_id: str
    token: str
    tenure: str
    owner_token: str
    supervisor: str
    running_calls: str = ""


def host_environment(
    plan: PluginPlan, settings: SupervisorSettings, ours: Mapping[str, str], credentials: Credentials
) -> dict[str, str]:
    """The allow-listed part of `ours`, over that the section's `inherit` and `environment`, over that who it is."""
    passed_on = {
        name: value for name, value in ours.items() if name in PASSED_ON or name.startswith(PASSED_ON_BY_START)
    }
    inherited = {name: ours[name] for name in plan.inherit if name in ours}
    identity = {
        "FORGEMESH_HOST_INSTANCE_ID": credentials.instance_id,
        "FORGEMESH_HOST_NAME": plan.name,
        "FORGEMESH_HOST_TOKEN": credentials.token,
        "FORGEMESH_HOST_TENURE": credentials.tenure,
        "FORGEMESH_HOST_OWNER_TOKEN": credentials.owner_token,
        "FORGEMESH_HOST_SUPERVISOR": credentials.supervisor,
        "FORGEMESH_HOST_REGISTRY": settings.registry,
        "FORGEMESH_HOST_TRACES": settings.traces,
    }
    if plan.load:
        identity |= {
            "FORGEMESH_HOST_LOAD": plan.load,
            "FORGEMESH_HOST_PATH": search_path(plan.directories),
            "PYTHONUNBUFFERED": "1",
        }
    if plan.load and credentials.running_calls:
        identity["FORGEMESH_HOST_RUNNING_CALLS"] = credentials.running_calls
    if plan.owner_key_file:
        identity["FORGEMESH_HOST_OWNER_KEY_FILE"] = plan.owner_key_file
    limits = plan.limits
    if plan.load and limits.memory:
        identity["FORGEMESH_HOST_MEMORY_BYTES"] = str(limits.memory)
    if plan.load and limits.open_files:
        identity["FORGEMESH_HOST_OPEN_FILES"] = str(limits.open_files)
    if plan.grace is not None:
        identity["FORGEMESH_HOST_GRACE"] = f"{plan.grace * HOST_SHARE:g}"
    if plan.reattach:
        identity |= {
            "FORGEMESH_HOST_REATTACH": "1",
            "FORGEMESH_HOST_REATTACH_SECONDS": f"{settings.reattach_seconds:g}",
            "FORGEMESH_HOST_SUPERVISOR_FILE": str(settings.address_file.absolute()),
        }
    return passed_on | inherited | dict(plan.environment) | identity
