"""How pods begin, live and end: probes, grace, disruption budgets, replicas, volumes of data."""

from __future__ import annotations

import math
from collections.abc import Iterator

from forgemesh.chassis.health import LIVENESS, READINESS, STARTUP
from tests.component.k8s.manifests import Document, Manifests, Workload, name_of
from tests.component.k8s.processes import Process, processes

PROBES = {"startupProbe": STARTUP, "readinessProbe": READINESS, "livenessProbe": LIVENESS}
HOST_PROBES = {**PROBES, "startupProbe": LIVENESS}
"""A host has started once it is registered: a probe for that would restart it while the registry is away."""
IDENTITY = ("app.kubernetes.io/name", "app.kubernetes.io/version", "app.kubernetes.io/component")
LAST_WORDS = 5
"""Seconds between the end of the drain and the kill: to flush spans and to close the database."""


def lifetime_problems(manifests: Manifests) -> Iterator[str]:
    """Probes that ask for what nobody answers, ends that are cut short, nodes that cannot be drained."""
    for process in processes(manifests):
        yield from (f"{process.title}: {problem}" for problem in _probes(process))
        if process.settings is not None:
            yield from (f"{process.title}: {problem}" for problem in _grace(process))
    yield from _budgets(manifests)
    yield from _data(manifests)
    for workload in manifests.workloads:
        if workload.is_plugin:
            yield from (f"{workload.title}: {problem}" for problem in _plugin(workload))


def _probes(process: Process) -> Iterator[str]:
    for kind, name in (HOST_PROBES if process.section == "host" else PROBES).items():
        probe = process.container.get(kind)
        if probe is None:
            yield f"{kind} is missing"
            continue
        asked = probe.get("grpc", {})
        if asked.get("service") != name:
            yield f"{kind} asks for the health of {asked.get('service')!r}, not of {name!r}"
        if process.settings is not None and asked.get("port") != process.port("health_listen"):
            yield f"{kind} asks at port {asked.get('port')}, health is at {process.value('health_listen')}"
    liveness = process.container.get("livenessProbe", {})
    asked = liveness.get("periodSeconds", 10) * liveness.get("failureThreshold", 3) + liveness.get("timeoutSeconds", 1)
    if asked + liveness.get("terminationGracePeriodSeconds", 30) > 15:
        yield "livenessProbe lets a process that hangs stay for more than 15 s"


def _grace(process: Process) -> Iterator[str]:
    given = process.workload.pod.get("terminationGracePeriodSeconds", 30)
    pause = process.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    drain = process.value("grace") + (0 if process.section == "host" else process.value("drain_delay"))
    needed = pause + drain + LAST_WORDS
    if not process.workload.pod.get("shareProcessNamespace"):
        yield "shareProcessNamespace is not set: process 1 loses a SIGTERM that comes before its interpreter runs"
    if given < needed:
        yield f"terminationGracePeriodSeconds is {given}, the drain may take {needed:g}"
    if process.section == "host" and given > needed:
        yield f"terminationGracePeriodSeconds is {given}, of which FORGEMESH_HOST_GRACE lets the drain use {needed:g}"


def _budgets(manifests: Manifests) -> Iterator[str]:
    for budget in manifests.of("PodDisruptionBudget"):
        selected = manifests.selected(budget["spec"].get("selector"))
        if len(selected) != 1:
            yield f"{name_of(budget)}: its selector takes pods of {len(selected)} workloads, not of one"
            continue
        replicas = selected[0].spec.get("replicas", 1)
        if evictable(budget["spec"], replicas) < 1:
            yield f"{name_of(budget)}: of {replicas} pods none may be evicted, and no node be drained"
    covered = {
        one.title
        for budget in manifests.of("PodDisruptionBudget")
        for one in manifests.selected(budget["spec"].get("selector"))
    }
    for process in processes(manifests):
        if process.workload.title not in covered:
            yield f"{process.workload.title}: no PodDisruptionBudget takes its pods"


def evictable(spec: Document, replicas: int) -> int:
    """How many pods a budget lets go when all are well; percentages are rounded up, as Kubernetes does."""
    if "maxUnavailable" in spec:
        return _share(spec["maxUnavailable"], replicas)
    return replicas - _share(spec.get("minAvailable", 1), replicas)


def _share(amount: int | str, replicas: int) -> int:
    return amount if isinstance(amount, int) else math.ceil(int(amount.rstrip("%")) * replicas / 100)


def _data(manifests: Manifests) -> Iterator[str]:
    """Nothing that two pods could write."""
    for workload in manifests.workloads:
        for claim in workload.spec.get("volumeClaimTemplates", ()):
            if "storage" not in claim.get("spec", {}).get("resources", {}).get("requests", {}):
                yield f"{workload.title}: the volume {claim['metadata']['name']} requests no storage"
            if claim.get("spec", {}).get("accessModes") != ["ReadWriteOncePod"]:
                yield f"{workload.title}: more than one pod can write the volume {claim['metadata']['name']}"
            if workload.spec.get("replicas", 1) != 1:
                yield f"{workload.title}: {workload.spec['replicas']} replicas of what keeps its data in SQLite"
        for volume in workload.pod.get("volumes", ()):
            if "persistentVolumeClaim" in volume:
                yield f"{workload.title}: the volume {volume['name']} is shared by its pods"


def _plugin(workload: Workload) -> Iterator[str]:
    labels = workload.document["metadata"].get("labels", {})
    name, version = labels.get("app.kubernetes.io/name", ""), labels.get("app.kubernetes.io/version", "")
    expected = f"plugin-{name.replace('-', '--').replace('.', '-')}-v{version.replace('.', '-')}"
    if workload.name != expected:
        yield f"by its labels it would be called {expected}"
    wanted = {label: labels.get(label) for label in IDENTITY} | {"forgemesh.dev/process": "host"}
    if workload.spec.get("selector", {}).get("matchLabels") != wanted:
        yield f"its selector is not {wanted}"
    rolling = workload.spec.get("strategy", {}).get("rollingUpdate", {})
    if rolling.get("maxUnavailable") != 0:
        yield "strategy.rollingUpdate.maxUnavailable is not 0: a rollout takes instances away before others serve"
