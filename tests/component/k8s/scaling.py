"""Who says how many pods there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from forgemesh.routing.scaling import ScaleRule, behavior_of
from tests.component.k8s.manifests import Document, Manifests, name_of


def scaling_problems(manifests: Manifests) -> Iterator[str]:
    """Autoscalers of nobody, two hands on one Deployment, and scalers that cannot be asked."""
    yield from _targets(manifests)
    for scaled in manifests.of("ScaledObject"):
        for trigger in scaled["spec"].get("triggers", ()):
            yield from (f"{name_of(scaled)}: {problem}" for problem in _trigger(manifests, scaled, trigger))
    for autoscaler in manifests.of("ScaledObject", "HorizontalPodAutoscaler"):
        if _behaviour(autoscaler) != behavior_of(_rule(autoscaler)):
            yield f"{name_of(autoscaler)}: its behavior is not that of the rule, {behavior_of(_rule(autoscaler))}"


def _targets(manifests: Manifests) -> Iterator[str]:
    autoscalers = list(manifests.of("ScaledObject", "HorizontalPodAutoscaler"))
    targets = {name_of(one): one["spec"].get("scaleTargetRef", {}) for one in autoscalers}
    hands = Counter(target.get("name") for target in targets.values())
    for title, target in targets.items():
        found = manifests.named(target.get("kind", "Deployment"), target.get("name", ""))
        if found is None:
            yield f"{title}: there is no {target.get('kind')} {target.get('name')}"
        elif "replicas" in found["spec"]:
            yield f"{name_of(found)}: replicas is set, and {title} says how many they are"
        if hands[target.get("name")] > 1:
            yield f"{title}: another autoscaler has its hand on {target.get('name')}"
    for workload in manifests.workloads:
        if "replicas" not in workload.spec and workload.name not in hands:
            yield f"{workload.title}: nobody says how many replicas it has"


def _trigger(manifests: Manifests, scaled: Document, trigger: Document) -> Iterator[str]:
    said = trigger.get("metadata", {})
    address = said.get("scalerAddress", "")
    if "." not in address or manifests.behind(address) is None:
        yield f"scalerAddress {address} leads to no port of a Service when it is asked from another namespace"
    target = manifests.named("Deployment", scaled["spec"].get("scaleTargetRef", {}).get("name", "")) or {}
    metadata = target.get("metadata", {})
    wanted = {
        "plugin": metadata.get("labels", {}).get("app.kubernetes.io/name"),
        "version": metadata.get("labels", {}).get("app.kubernetes.io/version"),
        "minReplicas": str(scaled["spec"].get("minReplicaCount", 0)),
        "maxReplicas": str(scaled["spec"].get("maxReplicaCount", 100)),
    }
    for name, value in wanted.items():
        if said.get(name) != value:
            yield f"the trigger's {name} is {said.get(name)}, and that of the Deployment or the ScaledObject {value}"


def _rule(autoscaler: Document) -> ScaleRule:
    spec = autoscaler["spec"]
    if autoscaler["kind"] == "ScaledObject":
        return ScaleRule(least=spec.get("minReplicaCount", 0), most=spec.get("maxReplicaCount", 100))
    return ScaleRule(least=spec.get("minReplicas", 1), most=spec["maxReplicas"])


def _behaviour(autoscaler: Document) -> Any:
    spec = autoscaler["spec"]
    if autoscaler["kind"] == "ScaledObject":
        spec = spec.get("advanced", {}).get("horizontalPodAutoscalerConfig", {})
    return spec.get("behavior")
