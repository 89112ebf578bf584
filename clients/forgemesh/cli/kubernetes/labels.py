"""How the objects of a plugin find one another, and how policies of the mesh find its pods."""

from __future__ import annotations

from typing import Any

from forgemesh.cli.kubernetes.names import label_value, workload_name
from forgemesh.cli.kubernetes.workload import Workload

NAME = "app.kubernetes.io/name"
VERSION = "app.kubernetes.io/version"
COMPONENT = "app.kubernetes.io/component"
PART_OF = "app.kubernetes.io/part-of"
PROCESS = "forgemesh.dev/process"
"""Which of a plugin's pods serve it (host), and which put it into the catalogue (publish)."""
ANNOTATIONS = "forgemesh.dev/"


def labels_of(workload: Workload) -> dict[str, str]:
    """Of everything that belongs to one version of a plugin."""
    return {
        NAME: label_value(workload.plugin_id),
        VERSION: label_value(workload.version),
        COMPONENT: "plugin",
        PART_OF: "forgemesh",
    }


def pods_of(workload: Workload) -> dict[str, str]:
    """What all pods of this version have, and only they."""
    return {key: labels_of(workload)[key] for key in (NAME, VERSION, COMPONENT)}


def hosts_of(workload: Workload) -> dict[str, str]:
    """What the pods have, and only they, that serve this version."""
    return pods_of(workload) | {PROCESS: "host"}


def service_pods(name: str) -> dict[str, str]:
    """What the pods of a service of the mesh have."""
    return {NAME: name, COMPONENT: "service"}


def metadata_of(workload: Workload, name: str = "", **annotations: str) -> dict[str, Any]:
    """The metadata of an object of the workload, which is called as the workload is unless a name is given."""
    found: dict[str, Any] = {"name": name or workload_name(workload.plugin_id, workload.version)}
    if workload.namespace is not None:
        found["namespace"] = workload.namespace
    found["labels"] = labels_of(workload)
    said = {"plugin": workload.plugin_id, "version": workload.version} | annotations
    found["annotations"] = {f"{ANNOTATIONS}{key}": text for key, text in said.items() if text}
    return found
