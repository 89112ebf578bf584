"""How the objects of a plugin find one another, and how policies of the mesh find its pods."""

from __future__ import annotations

from typing import Any

from forgemesh.cli.kubernetes.names import plugin_name, version_label, workload_name
from forgemesh.cli.kubernetes.workload import Workload

NAME = "app.kubernetes.io/name"
VERSION = "app.kubernetes.io/version"
COMPONENT = "app.kubernetes.io/component"
PART_OF = "app.kubernetes.io/part-of"
ANNOTATIONS = "forgemesh.dev/"


def labels_of(workload: Workload) -> dict[str, str]:
    """Of everything that belongs to one version of a plugin, the pods that serve it included."""
    return {
        NAME: plugin_name(workload.plugin_id),
        VERSION: version_label(workload.version),
        COMPONENT: "plugin",
        PART_OF: "forgemesh",
    }


def publishing_labels(workload: Workload) -> dict[str, str]:
    """Of the pods that put it into the catalogue: the mesh takes them for a plugin, and no Deployment for its own."""
    return labels_of(workload) | {NAME: f"publish-{plugin_name(workload.plugin_id)}"}


def pods_of(workload: Workload) -> dict[str, str]:
    """What the pods have, and only they, that serve this version."""
    return {key: labels_of(workload)[key] for key in (NAME, VERSION, COMPONENT)}


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
