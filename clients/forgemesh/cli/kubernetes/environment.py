"""The variables of a plugin's pods, and its configuration: what of them is a ConfigMap."""

from __future__ import annotations

import json
from typing import Any

from forgemesh.cli.kubernetes.labels import metadata_of
from forgemesh.cli.kubernetes.names import name_with_content, workload_name
from forgemesh.cli.kubernetes.workload import Workload
from forgemesh.plugin.search_path import search_path

PORT = 7410
HEALTH_PORT = 7510
REGISTRY = "registry:7402"
TRACES = "traces:7405"
TOKEN_FOLDER = "/run/forgemesh"
CONFIG_FOLDER = "/etc/forgemesh"
OWNER_FOLDER = "/run/secrets/forgemesh-owner"
OWNER_FILE = "owner.key"
OF_THE_POD = {"FORGEMESH_HOST_INSTANCE_ID": "metadata.name", "FORGEMESH_HOST_ADVERTISE": "status.podIP"}
"""What each pod has of its own, by the field that it comes from."""


def variables_of(workload: Workload) -> dict[str, str]:
    """What all pods of the workload have in their environment: the host's settings, then the author's own variables."""
    config = f"{CONFIG_FOLDER}/config.json" if workload.config else ""
    owner = f"{OWNER_FOLDER}/{OWNER_FILE}" if workload.owner_key_secret else ""
    settings = {
        "LOAD": workload.load,
        "PATH": search_path(workload.path),
        "NAME": workload.section,
        "LISTEN": f"0.0.0.0:{PORT}",
        "HEALTH_LISTEN": f"0.0.0.0:{HEALTH_PORT}",
        "INSECURE": "true",
        "REGISTRY": REGISTRY,
        "TRACES": TRACES,
        "GRACE": str(workload.grace),
        "OWNER_TOKEN_FILE": f"{TOKEN_FOLDER}/owner-token",
        "CONFIG": config,
        "OWNER_KEY_FILE": owner,
        "MEMORY_BYTES": str(workload.limits.memory_bytes or ""),
        "OPEN_FILES": str(workload.limits.open_files or ""),
    }
    return {f"FORGEMESH_HOST_{key}": value for key, value in settings.items() if value} | workload.environment


def reserved_variables(workload: Workload) -> set[str]:
    """What the pods set by themselves, whatever else is asked for."""
    return (variables_of(workload).keys() - workload.environment.keys()) | OF_THE_POD.keys()


def environment_map(workload: Workload) -> dict[str, Any]:
    """The ConfigMap of the variables; a changed one has another name, so that pods are replaced for it."""
    return _map(workload, "env", variables_of(workload))


def config_map(workload: Workload) -> dict[str, Any] | None:
    """The ConfigMap of the plugin's configuration, apart from the variables, which are all that is in theirs."""
    return _map(workload, "config", {"config.json": workload.config}) if workload.config else None


def _map(workload: Workload, kind: str, data: dict[str, str]) -> dict[str, Any]:
    name = f"{workload_name(workload.plugin_id, workload.version)}-{kind}"
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata_of(workload, name_with_content(name, json.dumps(data, sort_keys=True))),
        "data": data,
    }
