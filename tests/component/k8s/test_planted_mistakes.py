"""A mistake in a source of the manifests is named: the manifest, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.component.k8s.ladder import problems
from tests.component.k8s.manifests import RenderingError, render
from tests.component.k8s.sources import change, copy_of_k8s, with_every_component


@dataclass(frozen=True)
class Mistake:
    """
    `old` becomes `new` in a file below k8s/, and `said` is part of a problem.

    Those that are planted `together` are in one rendering, so that none hides another.
    """

    name: str
    together: str
    file: str
    old: str
    new: str
    said: str


READER = "overlays/example/plugins/weather-reader/deployment.yaml"
STATS = "overlays/example/plugins/weather-stats/deployment.yaml"
PLUGIN = "components/plugin/deployment.yaml"

MISTAKES = [
    Mistake(
        "a misspelt field of a probe",
        "schemas",
        "base/registry.yaml",
        "grpc: {port: 7502, service: readiness}",
        "grpc: {port: 7502, servce: readiness}",
        "StatefulSet/registry: spec.template.spec.containers.0.readinessProbe.grpc: Additional properties",
    ),
    Mistake(
        "a number that is text",
        "schemas",
        READER,
        "replicas: 1",
        'replicas: "1"',
        "Deployment/plugin-weather-reader-v1-0-0: spec.replicas: '1' is not of type",
    ),
    Mistake(
        "a kind without a schema",
        "schemas",
        "components/gateway/route.yaml",
        "kind: GRPCRoute",
        "kind: GRPCRout",
        "GRPCRout/orchestrator: gateway.networking.k8s.io/v1 GRPCRout has no schema",
    ),
    Mistake(
        "a key that KEDA's trigger does not have",
        "schemas",
        "components/keda/scaled-object.yaml",
        "targetUtilization:",
        "targetUtilisation:",
        "spec.triggers.0.metadata: Additional properties are not allowed ('targetUtilisation' was unexpected)",
    ),
    Mistake(
        "a setting that does not exist",
        "settings",
        "base/kustomization.yaml",
        "FORGEMESH_BALANCER_REGISTRY=",
        "FORGEMESH_BALANCER_REGISTY=",
        "FORGEMESH_BALANCER_REGISTY: unknown setting, did you mean 'registry'?",
    ),
    Mistake(
        "a setting of another process",
        "settings",
        "base/kustomization.yaml",
        "FORGEMESH_TRACES_INSECURE=true",
        "FORGEMESH_TRACE_INSECURE=true",
        "FORGEMESH_TRACE_INSECURE is no setting of this process",
    ),
    Mistake(
        "a value that is none",
        "settings",
        PLUGIN,
        'value: "60"',
        'value: "60s"',
        "FORGEMESH_HOST_GRACE: Expected `float`, got `str`",
    ),
    Mistake(
        "a setting that is missing",
        "settings",
        STATS,
        "FORGEMESH_HOST_LOAD",
        "WEATHER_LOAD",
        "[host] load: must be set",
    ),
    Mistake(
        "an address of nobody",
        "settings",
        "base/kustomization.yaml",
        "FORGEMESH_ORCHESTRATOR_BALANCER=balancer:7403",
        "FORGEMESH_ORCHESTRATOR_BALANCER=balancer:7404",
        "balancer = balancer:7404 leads to no port of a Service",
    ),
    Mistake(
        "a database on no volume",
        "data",
        "overlays/single/kustomization.yaml",
        "/data/traces.db",
        "/date/traces.db",
        "database = /date/traces.db lies on no volume",
    ),
    Mistake(
        "a database that goes with the pod",
        "data",
        "overlays/single/kustomization.yaml",
        "/data/registry.db",
        "/tmp/registry.db",
        "database = /tmp/registry.db lies on a volume that goes with the pod",
    ),
    Mistake(
        "a program that does not exist",
        "programs",
        "base/traces.yaml",
        "forgemesh.traces.main",
        "forgemesh.trace.main",
        "no program is called forgemesh.trace.main, did you mean forgemesh.traces.main?",
    ),
    Mistake(
        "a service of nobody's pods",
        "programs",
        "base/balancer.yaml",
        "selector: {app.kubernetes.io/name: balancer,",
        "selector: {app.kubernetes.io/name: balancers,",
        "Service/balancer: its selector takes pods of 0 workloads",
    ),
    Mistake(
        "pods that the selector does not take",
        "labels",
        "base/balancer.yaml",
        "      labels: {app.kubernetes.io/name: balancer,",
        "      labels: {app.kubernetes.io/name: balancers,",
        "StatefulSet/balancer: its selector does not take its own pods",
    ),
    Mistake(
        "a port that nobody listens on",
        "programs",
        "base/orchestrator.yaml",
        "containerPort: 7401",
        "containerPort: 7400",
        "Service/orchestrator: port 7401 leads to 7400 of StatefulSet/orchestrator",
    ),
    Mistake(
        "a probe at the wrong port",
        "labels",
        "base/traces.yaml",
        "grpc: {port: 7505, service: liveness}",
        "grpc: {port: 7405, service: liveness}",
        "livenessProbe asks at port 7405, health is at 0.0.0.0:7505",
    ),
    Mistake(
        "a probe for what nobody answers",
        "programs",
        PLUGIN,
        "service: readiness",
        "service: ready",
        "readinessProbe asks for the health of 'ready', not of 'readiness'",
    ),
    Mistake(
        "a grace that the pod does not have",
        "labels",
        PLUGIN,
        'value: "60"',
        'value: "90"',
        "terminationGracePeriodSeconds is 65, the drain may take 95",
    ),
    Mistake(
        "a process that may lose the signal to end",
        "labels",
        "base/every-service.yaml",
        "shareProcessNamespace: true",
        "shareProcessNamespace: false",
        "shareProcessNamespace is not set",
    ),
    Mistake(
        "a budget that lets nobody go",
        "programs",
        "components/plugin/disruption-budget.yaml",
        "maxUnavailable: 25%",
        "minAvailable: 1",
        "PodDisruptionBudget/plugin-weather-reader-v1-0-0: of 1 pods none may be evicted",
    ),
    Mistake(
        "two hands on one number of replicas",
        "labels",
        "components/keda/deployment.yaml",
        "replicas: null",
        "replicas: 2",
        "replicas is set, and ScaledObject/plugin-weather-stats-v1-2-0 says how many they are",
    ),
    Mistake(
        "a scaler of nobody",
        "labels",
        "components/keda/scaled-object.yaml",
        "balancer.forgemesh.svc:7403",
        "balancer.mesh.svc:7403",
        "scalerAddress balancer.mesh.svc:7403 leads to no port of a Service",
    ),
    Mistake(
        "an edge that is closed",
        "edges",
        "components/network-policies/registry.yaml",
        "app.kubernetes.io/component: plugin",
        "app.kubernetes.io/component: plug-in",
        "no policy lets Deployment/plugin-weather-stats-v1-2-0 enter for StatefulSet/registry:7402",
    ),
    Mistake(
        "an edge that nobody needs",
        "edges",
        "components/network-policies/traces.yaml",
        "        - podSelector: {matchLabels: {app.kubernetes.io/component: plugin}}",
        "        - podSelector: {}",
        "StatefulSet/registry may enter for StatefulSet/traces:7405, which it does not need",
    ),
    Mistake(
        "a door that is open to all",
        "edges",
        "components/network-policies/orchestrator.yaml",
        'namespaceSelector: {matchLabels: {forgemesh.dev/caller: "true"}}',
        "namespaceSelector: {}",
        "it lets others than callers and KEDA reach StatefulSet/orchestrator:7401",
    ),
    Mistake(
        "policies without a default",
        "edges",
        "components/network-policies/default-deny.yaml",
        "policyTypes: [Ingress, Egress]",
        "policyTypes: [Ingress]",
        "no NetworkPolicy denies everything to every pod",
    ),
    Mistake(
        "settings that are not there",
        "names",
        "base/traces.yaml",
        "configMapRef: {name: traces-settings}",
        "configMapRef: {name: trace-settings}",
        "StatefulSet/traces: there is no ConfigMap trace-settings",
    ),
    Mistake(
        "an account that is not there",
        "names",
        "base/traces.yaml",
        "serviceAccountName: traces",
        "serviceAccountName: trace",
        "StatefulSet/traces: there is no ServiceAccount trace",
    ),
    Mistake(
        "an account with a token",
        "programs",
        "components/plugin/service-account.yaml",
        "automountServiceAccountToken: false",
        "automountServiceAccountToken: true",
        "ServiceAccount/plugin-weather-stats-v1-2-0: automountServiceAccountToken is not false",
    ),
    Mistake(
        "a root file system that can be written",
        "names",
        "base/every-service.yaml",
        "readOnlyRootFilesystem: true",
        "readOnlyRootFilesystem: false",
        "StatefulSet/registry, container service: securityContext.readOnlyRootFilesystem is not true",
    ),
    Mistake(
        "a namespace that admits anything",
        "programs",
        "base/namespace.yaml",
        "enforce: restricted",
        "enforce: baseline",
        "Namespace/forgemesh: pod-security.kubernetes.io/enforce is not restricted",
    ),
    Mistake(
        "a secret in a manifest",
        "names",
        STATS,
        "env:\n",
        "env:\n            - {name: FORGEMESH_HOST_OWNER_TOKEN, value: open-sesame-open}\n",
        "FORGEMESH_HOST_OWNER_TOKEN is a secret that stands in the manifest",
    ),
    Mistake(
        "a registry of somebody's",
        "data",
        "overlays/single/kustomization.yaml",
        "newName: localhost/forgemesh",
        "newName: registry.example.com/forgemesh",
        "image registry.example.com/forgemesh:dev names a registry",
    ),
    Mistake(
        "a volume that two pods may write",
        "data",
        "overlays/single/data.yaml",
        "[ReadWriteOncePod]",
        "[ReadWriteMany]",
        "StatefulSet/traces: more than one pod can write the volume data",
    ),
    Mistake(
        "two pods on SQLite",
        "data",
        "base/registry.yaml",
        "replicas: 1",
        "replicas: 2",
        "StatefulSet/registry: 2 replicas of what keeps its data in SQLite",
    ),
    Mistake(
        "a gRPC service that does not exist",
        "names",
        "components/gateway/route.yaml",
        "OrchestratorService",
        "OrchestrationService",
        "there is no gRPC service forgemesh.api.orchestrator.v1.OrchestrationService",
    ),
    Mistake(
        "a name that does not fit its labels",
        "names",
        STATS,
        "name: plugin-weather-stats-v1-2-0",
        "name: plugin-weather-stats-v1-1-0",
        "by its labels it would be called plugin-weather-stats-v1-2-0",
    ),
    Mistake(
        "a file that is not there",
        "files",
        "components/network-policies/kustomization.yaml",
        "- traces.yaml",
        "- trace.yaml",
        "trace.yaml",
    ),
]


@pytest.mark.parametrize("together", sorted({mistake.together for mistake in MISTAKES}))
def test_every_mistake_is_named(together: str, tmp_path: Path) -> None:
    k8s = copy_of_k8s(tmp_path)
    overlay = with_every_component(k8s)
    planted = [mistake for mistake in MISTAKES if mistake.together == together]

    for mistake in planted:
        change(k8s / mistake.file, mistake.old, mistake.new)

    found = problems_of(overlay)
    assert [mistake.name for mistake in planted if mistake.said not in found] == [], found


def problems_of(overlay: Path) -> str:
    try:
        return "\n".join(problems(render(overlay)))
    except RenderingError as error:
        return str(error)
