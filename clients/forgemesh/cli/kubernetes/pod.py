"""A pod of a plugin: restricted as Pod Security has it, probed on its health port, drained before it ends."""

from __future__ import annotations

from typing import Any

from forgemesh.cli.kubernetes.environment import (
    CONFIG_FOLDER,
    HEALTH_PORT,
    OF_THE_POD,
    OWNER_FILE,
    OWNER_FOLDER,
    PORT,
    TOKEN_FOLDER,
    config_map,
    environment_map,
)
from forgemesh.cli.kubernetes.labels import PROCESS, hosts_of, labels_of
from forgemesh.cli.kubernetes.names import account_name
from forgemesh.cli.kubernetes.resources import resources_of
from forgemesh.cli.kubernetes.workload import Workload

USER = 65532
HUNG = 5
"""Seconds that a process has to end which does not answer any more: it may not take a SIGTERM either."""
LAST_WORDS = 5
"""Seconds that a host has beyond its grace, to deregister and to stop its plugin."""
SCRATCH = "256Mi"
"""What a pod may have in /tmp before it is evicted."""
STARTUP_CHECKS = 60
"""Seconds, one check each, that a host has at least until its plugin has started."""


def host_pod(workload: Workload) -> dict[str, Any]:
    """The template of the pods that serve the plugin."""
    template = _template(workload, _host_container(workload), workload.grace + LAST_WORDS)
    template["spec"]["topologySpreadConstraints"] = [
        _spread(workload, key) for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    ]
    return template


def publishing_pod(workload: Workload, command: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """The template of a pod that runs a command of ForgeMesh once, with the plugin at hand."""
    container = _container(workload, "publish", command)
    container["env"] = [{"name": name, "value": value} for name, value in environment.items()]
    template = _template(workload, container, LAST_WORDS)
    template["spec"]["restartPolicy"] = "Never"
    return template


def _template(workload: Workload, container: dict[str, Any], grace: int) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "serviceAccountName": account_name(workload.plugin_id),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "shareProcessNamespace": True,  # process 1 loses a SIGTERM that comes before its interpreter runs
        "terminationGracePeriodSeconds": grace,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [volume for volume, _ in _volumes(workload, container["name"])],
    }
    if workload.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in workload.pull_secrets]
    return {"metadata": {"labels": labels_of(workload) | {PROCESS: container["name"]}}, "spec": spec}


def _host_container(workload: Workload) -> dict[str, Any]:
    container = _container(workload, "host", ["python", "-m", "forgemesh.plugin_host.main"])
    container["env"] = [
        {"name": name, "valueFrom": {"fieldRef": {"fieldPath": field}}} for name, field in OF_THE_POD.items()
    ]
    container["ports"] = [{"name": "grpc", "containerPort": PORT}, {"name": "health", "containerPort": HEALTH_PORT}]
    checks = max(STARTUP_CHECKS, workload.start_seconds)
    # not `startup`, which waits for the first registration: a registry that is away must not restart hosts
    container["startupProbe"] = _probe("liveness", period=1, failures=checks)
    container["readinessProbe"] = _probe("readiness", period=2, failures=2)
    liveness = _probe("liveness", period=3, failures=2, timeout=3)
    container["livenessProbe"] = liveness | {"terminationGracePeriodSeconds": HUNG}
    return container


def _container(workload: Workload, process: str, command: list[str]) -> dict[str, Any]:
    resources = resources_of(workload.limits)
    return {
        "name": process,
        "image": workload.image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "envFrom": [{"configMapRef": {"name": environment_map(workload)["metadata"]["name"]}}],
        "resources": {"requests": resources.requests, "limits": resources.limits},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": volume["name"], **mount} for volume, mount in _volumes(workload, process)],
    }


def _probe(service: str, *, period: int, failures: int, timeout: int = 1) -> dict[str, Any]:
    return {
        "grpc": {"port": HEALTH_PORT, "service": service},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": timeout,
    }


def _spread(workload: Workload, key: str) -> dict[str, Any]:
    return {
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": hosts_of(workload)},
        "matchLabelKeys": ["pod-template-hash"],
    }


def _volumes(workload: Workload, process: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each volume and how it is mounted; a pod that publishes starts nothing that would want secrets."""
    found: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"name": "tmp", "emptyDir": {"sizeLimit": SCRATCH}}, {"mountPath": "/tmp"}),
    ]
    if workload.owner_key_secret:
        items = [{"key": OWNER_FILE, "path": OWNER_FILE}]
        found.append(_secret("owner-key", workload.owner_key_secret, OWNER_FOLDER, items=items))
    if process != "host":
        return found
    token = {"name": "forgemesh", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}
    found.append((token, {"mountPath": TOKEN_FOLDER}))
    if (config := config_map(workload)) is not None:
        volume = {"name": "config", "configMap": {"name": config["metadata"]["name"]}}
        found.append((volume, {"mountPath": CONFIG_FOLDER, "readOnly": True}))
    for number, one in enumerate(workload.secrets):
        found.append(_secret(f"secret-{number}", one.secret, one.folder))
    return found


def _secret(name: str, secret: str, folder: str, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    volume = {"name": name, "secret": {"secretName": secret, "defaultMode": 0o440, **more}}
    return volume, {"mountPath": folder, "readOnly": True}
