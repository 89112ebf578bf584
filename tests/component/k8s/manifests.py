"""Manifests as kustomize renders them, and the questions that checks ask of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from tests.architecture.repository import ROOT

Document: TypeAlias = dict[str, Any]

K8S = ROOT / "k8s"
KUBECTL = Path(sys.executable).with_name("kubectl")
RUNNING = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "ReplicaSet", "Pod")


class RenderingError(Exception):
    """Kustomize did not render; the text is what it said."""


def render(folder: Path) -> Manifests:
    """What `kubectl apply -k folder` would send; raises RenderingError."""
    finished = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, timeout=60, check=False)
    if finished.returncode:
        raise RenderingError(finished.stderr)
    return Manifests(tuple(yaml.load_all(finished.stdout, yaml.CSafeLoader)))


def name_of(document: Document) -> str:
    """How a problem names a manifest."""
    return f"{document.get('kind')}/{document.get('metadata', {}).get('name')}"


def agrees(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Whether a label selector takes these labels; an empty one takes all, none at all takes nothing."""
    if selector is None:
        return False
    wanted = selector.get("matchLabels", {}).items()
    return wanted <= labels.items() and all(_expressed(one, labels) for one in selector.get("matchExpressions", ()))


def _expressed(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values", ())
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case _:
            return value is None


@dataclass(frozen=True, slots=True)
class Workload:
    """What runs pods."""

    document: Document

    @property
    def title(self) -> str:
        """Its kind and name."""
        return name_of(self.document)

    @property
    def kind(self) -> str:
        return str(self.document["kind"])

    @property
    def name(self) -> str:
        return str(self.document["metadata"]["name"])

    @property
    def spec(self) -> Document:
        return self.document.get("spec") or {}

    @property
    def template(self) -> Document:
        """Of its pods; a pod is its own."""
        return self.document if self.kind == "Pod" else self.spec.get("template") or {}

    @property
    def labels(self) -> dict[str, str]:
        """Of its pods."""
        return self.template.get("metadata", {}).get("labels") or {}

    @property
    def pod(self) -> Document:
        return self.template.get("spec") or {}

    @property
    def containers(self) -> list[Document]:
        return [*self.pod.get("initContainers", ()), *self.pod.get("containers", ())]

    @property
    def ports(self) -> dict[str, int]:
        """Port numbers of its containers by name."""
        listed = (port for container in self.containers for port in container.get("ports", ()))
        return {port.get("name", ""): port.get("containerPort", 0) for port in listed}

    @property
    def is_plugin(self) -> bool:
        """Whether it runs a plugin of the mesh."""
        return self.labels.get("app.kubernetes.io/component") == "plugin"


@dataclass(frozen=True)
class Manifests:
    """All that one kustomization gives."""

    documents: tuple[Document, ...]

    def of(self, *kinds: str) -> Iterator[Document]:
        """The manifests of these kinds."""
        return (document for document in self.documents if document.get("kind") in kinds)

    def named(self, kind: str, name: str) -> Document | None:
        """The one of this kind and name."""
        return next((one for one in self.of(kind) if one.get("metadata", {}).get("name") == name), None)

    @cached_property
    def workloads(self) -> list[Workload]:
        """Everything that runs pods."""
        return [Workload(document) for document in self.of(*RUNNING)]

    @cached_property
    def namespace(self) -> Document:
        """The one namespace."""
        return next(self.of("Namespace"), {})

    @property
    def namespace_labels(self) -> dict[str, str]:
        """Labels of the namespace, with that which Kubernetes adds."""
        metadata = self.namespace.get("metadata", {})
        return {**metadata.get("labels", {}), "kubernetes.io/metadata.name": metadata.get("name", "")}

    def selected(self, selector: Mapping[str, Any] | None) -> list[Workload]:
        """The workloads whose pods a selector takes."""
        return [workload for workload in self.workloads if agrees(selector, workload.labels)]

    def behind(self, address: str) -> tuple[Workload, int] | None:
        """The workload and the port of its pods that `service:port` or `service.namespace.svc:port` leads to."""
        host, _, port = address.rpartition(":")
        name, _, rest = host.partition(".")
        if rest not in ("", *(f"{self.namespace_labels['kubernetes.io/metadata.name']}{end}" for end in DOMAINS)):
            return None
        service = self.named("Service", name)
        if service is None:
            return None
        selector = {"matchLabels": service["spec"].get("selector", {})}
        for workload in self.selected(selector):
            for listed in service["spec"].get("ports", ()):
                if str(listed.get("port")) == port:
                    target = listed.get("targetPort", listed["port"])
                    return workload, workload.ports.get(target, 0) if isinstance(target, str) else target
        return None

    def environment(self, workload: Workload, container: Document) -> dict[str, str]:
        """What a container finds in its environment; fields of the pod as they may be."""
        found: dict[str, str] = {}
        for source in container.get("envFrom", ()):
            settings = self.named("ConfigMap", source.get("configMapRef", {}).get("name", "")) or {}
            found |= {source.get("prefix", "") + key: value for key, value in settings.get("data", {}).items()}
        for variable in container.get("env", ()):
            found[variable["name"]] = self._value(workload, variable)
        return found

    def _value(self, workload: Workload, variable: Document) -> str:
        if "valueFrom" not in variable:
            return str(variable.get("value", ""))
        source = variable["valueFrom"]
        if "configMapKeyRef" in source:
            reference = source["configMapKeyRef"]
            settings = self.named("ConfigMap", reference.get("name", "")) or {}
            return str(settings.get("data", {}).get(reference.get("key"), ""))
        return FIELDS.get(source.get("fieldRef", {}).get("fieldPath", ""), f"{workload.name}-0")


DOMAINS = ("", ".svc", ".svc.cluster.local")
FIELDS = {"status.podIP": "10.244.0.9", "metadata.namespace": "forgemesh", "spec.nodeName": "node"}
