"""Who names whom: selectors, accounts, settings, volumes, ports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.component.k8s.manifests import Document, Manifests, Workload, agrees, name_of
from tests.component.k8s.processes import PROGRAMS, processes

LABELS = {
    "app.kubernetes.io/component",
    "app.kubernetes.io/name",
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/version",
    "forgemesh.dev/process",
    "pod-security.kubernetes.io/enforce",
    "pod-security.kubernetes.io/warn",
}


def reference_problems(manifests: Manifests) -> Iterator[str]:
    """Every name that names nothing, and everything that nobody names."""
    yield from _twice(manifests)
    yield from _labels(manifests)
    yield from _selectors(manifests)
    yield from _service_ports(manifests)
    for workload in manifests.workloads:
        yield from (f"{workload.title}: {problem}" for problem in _named(manifests, workload))
        yield from (f"{workload.title}: {problem}" for problem in _mounts(workload))
        yield from (f"{workload.title}: {problem}" for problem in _spread(workload))
        yield from (f"{workload.title}: {problem}" for problem in _files_in_arguments(manifests, workload))
    yield from _nobodys(manifests)


def _twice(manifests: Manifests) -> Iterator[str]:
    count = Counter(name_of(document) for document in manifests.documents)
    yield from (f"{name} stands there {times} times" for name, times in count.items() if times > 1)
    home = manifests.namespace.get("metadata", {}).get("name")
    for document in manifests.documents:
        if document is not manifests.namespace and document["metadata"].get("namespace") != home:
            yield f"{name_of(document)}: its namespace is not {home}"


def _labels(manifests: Manifests) -> Iterator[str]:
    """Anything may be a label, so that a misspelt one is seen by nobody else."""
    labelled = [(name_of(document), document["metadata"]) for document in manifests.documents]
    labelled += [(f"{one.title}, its pods", one.template.get("metadata", {})) for one in manifests.workloads]
    for workload in manifests.workloads:
        claims = workload.spec.get("volumeClaimTemplates", ())
        labelled += [(f"{workload.title}, its claim {one['metadata']['name']}", one["metadata"]) for one in claims]
    for title, metadata in labelled:
        yield from (f"{title}: nobody knows the label {name}" for name in metadata.get("labels", {}).keys() - LABELS)
        if metadata.get("labels", {}).get("app.kubernetes.io/part-of") != "forgemesh":
            yield f"{title}: the label app.kubernetes.io/part-of is not forgemesh"


def _selectors(manifests: Manifests) -> Iterator[str]:
    for workload in manifests.workloads:
        if "selector" in workload.spec and not agrees(workload.spec["selector"], workload.labels):
            yield f"{workload.title}: its selector does not take its own pods"
        if "selector" in workload.spec and len(manifests.selected(workload.spec["selector"])) > 1:
            yield f"{workload.title}: its selector takes pods of others"
    for service in manifests.of("Service"):
        selector = {"matchLabels": service["spec"].get("selector", {})}
        if (found := len(manifests.selected(selector))) != 1:
            yield f"{name_of(service)}: its selector takes pods of {found} workloads, not of one"


def _service_ports(manifests: Manifests) -> Iterator[str]:
    for service in manifests.of("Service"):
        for port in service["spec"].get("ports", ()):
            behind = manifests.behind(f"{service['metadata']['name']}:{port['port']}")
            if behind is not None and behind[1] != port["port"]:
                yield f"{name_of(service)}: port {port['port']} leads to {behind[1] or 'no port'} of {behind[0].title}"
    for process in processes(manifests):
        for name, setting in (("grpc", "listen"), ("health", "health_listen")):
            listed = process.workload.ports.get(name, 0)
            if process.settings is not None and listed != process.port(setting):
                yield f"{process.title}: it listens on {process.value(setting)}, and its port {name!r} is {listed}"
        section, settings = next(found for found in PROGRAMS.values() if found[0] == process.section)
        default = str(settings.__dataclass_fields__["listen"].default).rpartition(":")[2]
        if section != "host" and process.settings is not None and str(process.port("listen")) != default:
            yield f"{process.title}: it listens on port {process.port('listen')}, everybody expects {default}"


def _named(manifests: Manifests, workload: Workload) -> Iterator[str]:
    account = workload.pod.get("serviceAccountName")
    if account and manifests.named("ServiceAccount", account) is None:
        yield f"there is no ServiceAccount {account}"
    if workload.kind == "StatefulSet" and manifests.named("Service", workload.spec.get("serviceName", "")) is None:
        yield f"there is no Service {workload.spec.get('serviceName')}"
    for kind, name, key in _settings_of(workload):
        found = manifests.named(kind, name)
        if found is None:
            yield f"there is no {kind} {name}"
        elif key and key not in found.get("data", {}):
            yield f"{kind} {name} has no {key}"


def _settings_of(workload: Workload) -> Iterator[tuple[str, str, str]]:
    """Kind, name and key of all that the containers read."""
    for container in workload.containers:
        for source in container.get("envFrom", ()):
            if "configMapRef" in source:
                yield "ConfigMap", source["configMapRef"].get("name", ""), ""
        for variable in container.get("env", ()):
            if reference := variable.get("valueFrom", {}).get("configMapKeyRef"):
                yield "ConfigMap", reference.get("name", ""), reference.get("key", "")
    for volume in workload.pod.get("volumes", ()):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"].get("name", ""), ""


def _mounts(workload: Workload) -> Iterator[str]:
    volumes = {volume["name"] for volume in workload.pod.get("volumes", ())}
    volumes |= {claim["metadata"]["name"] for claim in workload.spec.get("volumeClaimTemplates", ())}
    mounted = {mount["name"] for container in workload.containers for mount in container.get("volumeMounts", ())}
    yield from (f"there is no volume {name}" for name in sorted(mounted - volumes))
    yield from (f"nobody mounts the volume {name}" for name in sorted(volumes - mounted))


def _spread(workload: Workload) -> Iterator[str]:
    for constraint in workload.pod.get("topologySpreadConstraints", ()):
        if not agrees(constraint.get("labelSelector"), workload.labels):
            yield f"the labelSelector of its spread over {constraint.get('topologyKey')} does not take its own pods"
        for key in set(constraint.get("matchLabelKeys", ())) - workload.labels.keys() - {"pod-template-hash"}:
            yield f"its pods have no label {key}, by which they would be spread"


def _files_in_arguments(manifests: Manifests, workload: Workload) -> Iterator[str]:
    """Arguments like --config=/etc/collector/collector.yaml."""
    volumes = {volume["name"]: volume for volume in workload.pod.get("volumes", ()) if "configMap" in volume}
    for container in workload.containers:
        mounts = {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", ())}
        for argument in container.get("args", ()):
            folder, _, name = argument.partition("=")[2].rpartition("/")
            if mounts.get(folder) in volumes:
                settings = manifests.named("ConfigMap", volumes[mounts[folder]]["configMap"]["name"]) or {}
                if name not in settings.get("data", {}):
                    yield f"{argument}: there is no such file in {name_of(settings)}"


def _nobodys(manifests: Manifests) -> Iterator[str]:
    used = {(kind, name) for workload in manifests.workloads for kind, name, _ in _settings_of(workload)}
    used |= {("ServiceAccount", workload.pod.get("serviceAccountName", "")) for workload in manifests.workloads}
    for document in manifests.of("ConfigMap", "ServiceAccount"):
        if (document["kind"], document["metadata"]["name"]) not in used and not _is_of_plugins(document):
            yield f"{name_of(document)}: nobody uses it"


def _is_of_plugins(document: Document) -> bool:
    """Plugins come later than the services, by kustomizations of their own."""
    return str(document["metadata"]["name"]).startswith("plugin-settings")
