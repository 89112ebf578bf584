"""What pods may do and what they get: Pod Security, tokens, secrets, images, resources."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.component.k8s.manifests import Document, Manifests, Workload, name_of

ENFORCE = "pod-security.kubernetes.io/enforce"
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SECRET = re.compile(r"token|password|passphrase|secret|credential|private|(?<![a-z])key", re.IGNORECASE)
UNITS = {"m": 1e-3, "": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 1e3, "M": 1e6, "G": 1e9}


def pod_problems(manifests: Manifests) -> Iterator[str]:
    """Whatever the restricted profile forbids, and what we do not want beside that."""
    if manifests.namespace_labels.get(ENFORCE) != "restricted":
        yield f"{name_of(manifests.namespace)}: {ENFORCE} is not restricted"
    yield from _secrets(manifests)
    for workload in manifests.workloads:
        yield from (f"{workload.title}: {problem}" for problem in _of_the_pod(workload.pod))
        for container in workload.containers:
            title = f"{workload.title}, container {container.get('name')}"
            yield from (f"{title}: {problem}" for problem in _of_the_container(container, workload.pod))
            yield from (f"{title}: {problem}" for problem in _of_the_image(container))
            yield from (f"{title}: {problem}" for problem in _of_resources(container))
    for account in manifests.of("ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            yield f"{name_of(account)}: automountServiceAccountToken is not false"


def _of_the_pod(pod: Document) -> Iterator[str]:
    yield from (f"{name} is set" for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name))
    for volume in pod.get("volumes", ()):
        yield from (f"volume {volume['name']} is a {kind}" for kind in volume.keys() - {"name"} - VOLUMES)
    if pod.get("automountServiceAccountToken") is not False:
        yield "automountServiceAccountToken is not false"
    if pod.get("enableServiceLinks") is not False:
        yield "enableServiceLinks is not false"
    if not pod.get("serviceAccountName"):
        yield "serviceAccountName is missing: it would share the account `default`"
    if pod.get("securityContext", {}).get("sysctls"):
        yield "sysctls are set"


def _of_the_container(container: Document, pod: Document) -> Iterator[str]:
    context = {**pod.get("securityContext", {}), **container.get("securityContext", {})}
    wanted: dict[str, Any] = {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
    }
    for name, value in wanted.items():
        if context.get(name) is not value:
            yield f"securityContext.{name} is not {str(value).lower()}"
    if context.get("privileged") or context.get("procMount", "Default") != "Default":
        yield "it is privileged"
    if not context.get("runAsUser"):
        yield "securityContext.runAsUser is root, or whoever the image says"
    if context.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "securityContext.seccompProfile is not RuntimeDefault"
    capabilities = context.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", ()) or capabilities.get("add"):
        yield "it does not drop ALL capabilities, or adds some"
    yield from (
        f"port {port['containerPort']} is the host's too" for port in container.get("ports", ()) if "hostPort" in port
    )


def _of_the_image(container: Document) -> Iterator[str]:
    image = str(container.get("image"))
    host, _, rest = image.partition("/")
    if rest and host != "localhost" and (set(".:") & set(host)):
        yield f"image {image} names a registry: whoever applies this says where images are"
    if not re.search(r":[\w.-]+$|@sha256:[0-9a-f]{64}$", rest or host) or image.endswith(":latest"):
        yield f"image {image} has no tag that stays the same"
    if container.get("imagePullPolicy") != "IfNotPresent":
        yield "imagePullPolicy is not IfNotPresent"


def _of_resources(container: Document) -> Iterator[str]:
    resources = container.get("resources", {})
    requests, limits = resources.get("requests", {}), resources.get("limits", {})
    yield from (f"resources.requests.{name} is missing" for name in ("cpu", "memory") if name not in requests)
    if "cpu" in limits:
        yield "resources.limits.cpu: a throttled process answers no probe in time"
    if _quantity(limits.get("memory", "0")) < _quantity(requests.get("memory", "1Gi")):
        yield "resources.limits.memory is missing, or less than what is requested"


def _quantity(text: object) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(\D*)", str(text)).groups()  # type: ignore[union-attr]
    return float(number) * UNITS[unit]


def _secrets(manifests: Manifests) -> Iterator[str]:
    """A secret stands in no manifest; a process reads it from a file."""
    for secret in manifests.of("Secret"):
        if secret.get("data") or secret.get("stringData"):
            yield f"{name_of(secret)}: a secret stands in the manifests"
    for settings in manifests.of("ConfigMap"):
        for key, value in settings.get("data", {}).items():
            if SECRET.search(key) and not str(value).startswith("/"):
                yield f"{name_of(settings)}: {key} is a secret in a ConfigMap"
    for workload in manifests.workloads:
        yield from (f"{workload.title}: {problem}" for problem in _secret_variables(workload))


def _secret_variables(workload: Workload) -> Iterator[str]:
    for container in workload.containers:
        for source in container.get("envFrom", ()):
            if "secretRef" in source:
                yield f"{source['secretRef'].get('name')}: a secret becomes environment; mount it as files"
        for variable in container.get("env", ()):
            if "secretKeyRef" in variable.get("valueFrom", {}):
                yield f"{variable['name']}: a secret becomes environment; mount it as a file"
            elif SECRET.search(variable["name"]) and not str(variable.get("value", "/")).startswith("/"):
                yield f"{variable['name']} is a secret that stands in the manifest"
