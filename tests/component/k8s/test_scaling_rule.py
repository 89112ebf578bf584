"""What the components say of scaling is what the rule and the balancer say."""

from __future__ import annotations

from typing import Any

import yaml

from forgemesh.api.keda.v1 import external_scaler_service_pb2 as pb
from forgemesh.balancer.codec import triggers
from forgemesh.routing.scaling import ScaleRule, behavior_of
from tests.component.k8s.manifests import K8S


def component(name: str, file: str) -> Any:
    return yaml.safe_load((K8S / "components" / name / file).read_text(encoding="utf-8"))["spec"]


def test_both_autoscalers_have_the_behaviour_of_the_rule() -> None:
    keda, hpa = component("keda", "scaled-object.yaml"), component("hpa", "autoscaler.yaml")

    rule = ScaleRule(least=keda["minReplicaCount"], most=keda["maxReplicaCount"])
    assert keda["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == behavior_of(rule)
    assert hpa["behavior"] == behavior_of(rule)
    assert keda["cooldownPeriod"] == rule.down_after


def test_the_balancer_understands_the_trigger() -> None:
    """The placeholders of the component are replaced by a name and a version."""
    (trigger,) = component("keda", "scaled-object.yaml")["triggers"]
    metadata = trigger["metadata"] | {"plugin": "weather.stats", "version": "1.0.0"}

    asked = triggers.trigger(pb.ScaledObjectRef(scalerMetadata=metadata))

    assert trigger["type"] == "external-push"
    assert (asked.plugin_id, asked.version, asked.target) == (
        "weather.stats",
        "1.0.0",
        ScaleRule(least=0, most=1).target,
    )
