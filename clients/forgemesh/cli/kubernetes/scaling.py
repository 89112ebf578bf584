"""Who decides how many pods serve a plugin: KEDA, which asks the balancer, or a plain HPA."""

from __future__ import annotations

import math
from typing import Any

from forgemesh.cli.kubernetes.labels import metadata_of
from forgemesh.cli.kubernetes.names import workload_name
from forgemesh.cli.kubernetes.workload import Workload
from forgemesh.routing.scaling import behavior_of

BALANCER_PORT = 7403
_POLLING = 5
_FAILURES = 3


def autoscaler_of(workload: Workload) -> dict[str, Any] | None:
    """The object that changes the number of pods; None if a person does."""
    match workload.scaling:
        case "none":
            return None
        case "keda":
            return _scaled_object(workload)
        case "hpa":
            return _pod_autoscaler(workload)


def _scaled_object(workload: Workload) -> dict[str, Any]:
    """KEDA may reach zero, and keeps what there is while the balancer is away."""
    rule = workload.rule
    trigger = {
        "scalerAddress": f"balancer.{workload.namespace}.svc:{BALANCER_PORT}",
        "plugin": workload.plugin_id,
        "version": workload.version,
        "minReplicas": str(rule.least),
        "maxReplicas": str(rule.most),
        "targetUtilization": f"{rule.target:g}",
    }
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata_of(workload),
        "spec": {
            "scaleTargetRef": {"name": workload_name(workload.plugin_id, workload.version)},
            "minReplicaCount": rule.least,
            "maxReplicaCount": rule.most,
            "pollingInterval": _POLLING,
            "cooldownPeriod": math.ceil(workload.cooldown),
            "fallback": {
                "failureThreshold": _FAILURES,
                "replicas": max(1, rule.least),
                "behavior": "currentReplicasIfHigher",
            },
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior_of(rule)}},
            "triggers": [{"type": "external-push", "metadata": trigger}],
        },
    }


def _pod_autoscaler(workload: Workload) -> dict[str, Any]:
    """By the share of the requested CPU that is in use, which the cluster's metrics-server knows."""
    rule = workload.rule
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata_of(workload),
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": workload_name(workload.plugin_id, workload.version),
            },
            "minReplicas": max(1, rule.least),
            "maxReplicas": rule.most,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {
                        "name": "cpu",
                        "target": {"type": "Utilization", "averageUtilization": max(1, round(rule.target * 100))},
                    },
                }
            ],
            "behavior": behavior_of(rule),
        },
    }
