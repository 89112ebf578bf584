"""Everything that is applied for one version of a plugin, in the order in which it is needed."""

from __future__ import annotations

import json
from typing import Any

from forgemesh.cli.kubernetes.environment import (
    OWNER_FILE,
    OWNER_FOLDER,
    REGISTRY,
    config_map,
    environment_map,
)
from forgemesh.cli.kubernetes.labels import ANNOTATIONS, VERSION, hosts_of, metadata_of
from forgemesh.cli.kubernetes.names import account_name, name_with_content, workload_name
from forgemesh.cli.kubernetes.network import network_policy
from forgemesh.cli.kubernetes.pod import LAST_WORDS, host_pod, publishing_pod
from forgemesh.cli.kubernetes.resources import resources_of
from forgemesh.cli.kubernetes.scaling import autoscaler_of
from forgemesh.cli.kubernetes.workload import Workload

FINAL_EXITS = (2, 4)
"""Exit codes of `forgemesh plugin publish` that no repetition changes: the plugin is not valid, or it is refused."""
_PUBLISH_WAIT = "5m"
_KEPT = 86_400
"""Seconds for which a Job that has ended can be looked at."""


def objects_of(workload: Workload) -> list[dict[str, Any]]:
    """The objects of a workload as Kubernetes reads them; what serves the plugin needs no Service."""
    found = [
        _service_account(workload),
        environment_map(workload),
        config_map(workload),
        network_policy(workload),
        _publishing_job(workload),
        _deployment(workload),
        _disruption_budget(workload),
        autoscaler_of(workload),
    ]
    return [one for one in found if one is not None]


def _service_account(workload: Workload) -> dict[str, Any]:
    """Of all versions of the plugin, for a right that somebody gives it; by itself it has none, and no token."""
    metadata = metadata_of(workload, account_name(workload.plugin_id))
    metadata["labels"].pop(VERSION)
    metadata["annotations"].pop(f"{ANNOTATIONS}version")
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "automountServiceAccountToken": False}


def _publishing_job(workload: Workload) -> dict[str, Any]:
    """
    Puts the manifest into the catalogue, so that workflows can name the plugin and nobody has to serve it yet.

    A Job cannot be changed: one with another content has another name.
    """
    command = ["python", "-m", "forgemesh.cli.main", "plugin", "publish", workload.load, "--wait", _PUBLISH_WAIT]
    command += [word for folder in workload.path for word in ("--path", folder)]
    if workload.owner_key_secret:
        command += ["--owner-key-file", f"{OWNER_FOLDER}/{OWNER_FILE}"]
    spec = {
        "backoffLimit": 6,
        "ttlSecondsAfterFinished": _KEPT,
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": "publish", "operator": "In", "values": list(FINAL_EXITS)},
                },
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]
        },
        "template": publishing_pod(workload, command, {"FORGEMESH_REGISTRY": REGISTRY}),
    }
    name = "publish" + workload_name(workload.plugin_id, workload.version).removeprefix("plugin")
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata_of(workload, name_with_content(name, json.dumps(spec, sort_keys=True))),
        "spec": spec,
    }


def _deployment(workload: Workload) -> dict[str, Any]:
    """One per version, so that two of them serve side by side; an autoscaler alone sets the number of its pods."""
    grace = f"{workload.grace} s for calls that run ({workload.grace_reason}), {LAST_WORDS} s to end"
    metadata = metadata_of(
        workload,
        description=workload.description,
        resources=resources_of(workload.limits).reason,
        grace=grace if workload.grace_reason else "",
    )
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    spec = {
        **({"replicas": workload.instances} if workload.scaling == "none" else {}),
        "revisionHistoryLimit": 3,
        "minReadySeconds": 5,
        "strategy": {"type": "Recreate"} if workload.exclusive else rolling,
        "selector": {"matchLabels": hosts_of(workload)},
        "template": host_pod(workload),
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def _disruption_budget(workload: Workload) -> dict[str, Any]:
    """A share is rounded up, so that one pod can always be evicted; one that is not ready is in nobody's way."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata_of(workload),
        "spec": {
            "maxUnavailable": "25%",
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": hosts_of(workload)},
        },
    }
