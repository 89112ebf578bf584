"""What holds for the objects of any plugin, however it is called and configured."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from forgemesh.cli.exits import ExitCode
from forgemesh.cli.kubernetes.environment import OF_THE_POD, variables_of
from forgemesh.cli.kubernetes.names import is_dns_label
from forgemesh.cli.kubernetes.objects import FINAL_EXITS, objects_of
from forgemesh.cli.kubernetes.resources import resources_of
from forgemesh.cli.kubernetes.workload import Egress, Limits, SecretMount, Workload
from forgemesh.plugin_host.settings import HostSettings
from forgemesh.routing.scaling import ScaleRule
from tests.unit.cli.test_kubernetes_names import IDS, LABEL_VALUE, VERSIONS

LIMITS = st.builds(
    Limits,
    memory_bytes=st.one_of(st.just(0), st.integers(64 * 2**20, 2**40)),
    cpu_millis=st.integers(0, 64_000),
    open_files=st.one_of(st.just(0), st.integers(64, 2**20)),
)
RULES = st.tuples(st.integers(0, 20), st.integers(1, 20)).map(
    lambda bounds: ScaleRule(least=min(bounds), most=max(bounds))
)
WORKLOADS = st.builds(
    Workload,
    plugin_id=IDS,
    version=VERSIONS,
    load=st.just("stock:Stock"),
    image=st.sampled_from(["stock:1", "localhost/forgemesh:dev"]),
    description=st.text(max_size=20),
    path=st.sampled_from([("/opt/plugins",), ("/opt/a", "/opt/b")]),
    namespace=st.sampled_from([None, "mesh"]),
    instances=st.integers(0, 9),
    scaling=st.sampled_from(["none", "hpa"]),
    rule=RULES,
    grace=st.integers(1, 3600),
    grace_reason=st.just("so"),
    start_seconds=st.integers(1, 900),
    limits=LIMITS,
    environment=st.dictionaries(st.sampled_from(["A", "B"]), st.text(max_size=5), max_size=2),
    config=st.sampled_from(["", '{"a": 1}']),
    secrets=st.sampled_from([(), (SecretMount(secret="db", folder="/run/db"),)]),
    owner_key_secret=st.sampled_from(["", "owner"]),
    pull_secrets=st.sampled_from([(), ("pull",)]),
    egress=st.sampled_from([(), (Egress(network="10.0.0.0/8", port=5432), Egress(network="fd00::/8"))]),
)
FEW = settings(max_examples=30)
"""Each makes all objects, and most of what is drawn changes one of them."""
STOCK = Workload(plugin_id="shop.stock", version="1.2.0", load="stock:Stock", image="stock:1.2.0")


def kinds(workload: Workload) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for one in objects_of(workload):
        found.setdefault(one["kind"], []).append(one)
    return found


def only(workload: Workload, kind: str) -> dict[str, Any]:
    (found,) = kinds(workload)[kind]
    return found


def templates(workload: Workload) -> Iterator[dict[str, Any]]:
    yield only(workload, "Deployment")["spec"]["template"]
    yield only(workload, "Job")["spec"]["template"]


@given(WORKLOADS)
@FEW
def test_every_object_has_a_name_of_its_own_and_labels_that_kubernetes_takes(workload: Workload) -> None:
    objects = objects_of(workload)

    assert all(is_dns_label(one["metadata"]["name"]) for one in objects)
    assert len({(one["kind"], one["metadata"]["name"]) for one in objects}) == len(objects)
    assert {one["metadata"].get("namespace") for one in objects} == {workload.namespace}
    for one in (*objects, *templates(workload)):
        assert all(LABEL_VALUE.fullmatch(value) for value in one["metadata"]["labels"].values())


@given(WORKLOADS)
@FEW
def test_every_pod_is_restricted_as_pod_security_has_it(workload: Workload) -> None:
    for template in templates(workload):
        spec = template["spec"]
        (container,) = spec["containers"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert (spec["securityContext"]["runAsUser"], spec["securityContext"]["fsGroup"]) == (65532, 65532)
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        sources = {key for volume in spec["volumes"] for key in volume if key != "name"}
        assert sources <= {"emptyDir", "configMap", "secret"}


@given(WORKLOADS)
@FEW
def test_whatever_a_pod_refers_to_is_there(workload: Workload) -> None:
    found = kinds(workload)
    maps = {one["metadata"]["name"] for one in found["ConfigMap"]}
    accounts = {one["metadata"]["name"] for one in found["ServiceAccount"]}
    secrets = {one.secret for one in workload.secrets} | {workload.owner_key_secret}
    for template in templates(workload):
        spec = template["spec"]
        (container,) = spec["containers"]
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
        assert {one["configMapRef"]["name"] for one in container["envFrom"]} <= maps
        assert {one["configMap"]["name"] for one in volumes.values() if "configMap" in one} <= maps
        assert {one["secret"]["secretName"] for one in volumes.values() if "secret" in one} <= secrets
        assert spec["serviceAccountName"] in accounts
    assert "Service" not in found


@given(WORKLOADS)
@FEW
def test_selectors_find_the_pods_that_serve_and_not_those_that_publish(workload: Workload) -> None:
    serving, publishing = (template["metadata"]["labels"].items() for template in templates(workload))
    deployment, budget = only(workload, "Deployment"), only(workload, "PodDisruptionBudget")

    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        budget["spec"]["selector"]["matchLabels"],
        *(
            one["labelSelector"]["matchLabels"]
            for one in deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
        ),
    ]
    assert all(one.items() <= serving and not one.items() <= publishing for one in selectors)
    fenced = only(workload, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"].items()
    assert fenced <= serving
    assert fenced <= publishing


@given(WORKLOADS)
@FEW
def test_one_grace_bounds_the_host_and_its_pod(workload: Workload) -> None:
    spec = only(workload, "Deployment")["spec"]["template"]["spec"]

    assert spec["terminationGracePeriodSeconds"] == int(variables_of(workload)["FORGEMESH_HOST_GRACE"]) + 5


@given(WORKLOADS)
@FEW
def test_no_pod_loses_a_sigterm_that_comes_before_its_interpreter_runs(workload: Workload) -> None:
    for kind in ("Deployment", "Job"):
        assert only(workload, kind)["spec"]["template"]["spec"]["shareProcessNamespace"] is True


@given(WORKLOADS)
@FEW
def test_probes_ask_the_health_port_by_the_names_that_hosts_know(workload: Workload) -> None:
    (container,) = only(workload, "Deployment")["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}

    for name in ("startup", "readiness", "liveness"):
        asked = container[f"{name}Probe"]["grpc"]
        assert asked == {"port": ports["health"], "service": "liveness" if name == "startup" else name}
    assert container["startupProbe"]["failureThreshold"] >= max(60, workload.start_seconds)
    variables = variables_of(workload)
    assert variables["FORGEMESH_HOST_LISTEN"] == f"0.0.0.0:{ports['grpc']}"
    assert variables["FORGEMESH_HOST_HEALTH_LISTEN"] == f"0.0.0.0:{ports['health']}"


@given(WORKLOADS)
@FEW
def test_an_autoscaler_alone_says_how_many_pods_there_are(workload: Workload) -> None:
    deployment, scalers = only(workload, "Deployment"), kinds(workload).get("HorizontalPodAutoscaler", [])

    assert ("replicas" in deployment["spec"]) is (workload.scaling == "none") is (not scalers)
    for scaler in scalers:
        assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
        assert 1 <= scaler["spec"]["minReplicas"] <= scaler["spec"]["maxReplicas"]


def mebibytes(text: str) -> int:
    found = re.fullmatch(r"(\d+)Mi", text)
    assert found is not None
    return int(found[1])


@given(LIMITS)
def test_a_pod_may_use_what_it_requests_and_the_kernel_comes_after_the_hosts_own_bound(limits: Limits) -> None:
    found = resources_of(limits)
    memory = mebibytes(found.limits["memory"])

    assert mebibytes(found.requests["memory"]) <= memory
    assert limits.memory_bytes < memory * 2**20
    assert ("cpu" in found.limits) is bool(limits.cpu_millis)
    assert int(found.requests["cpu"].removesuffix("m")) > 0


@given(WORKLOADS, WORKLOADS)
@FEW
def test_what_cannot_be_changed_in_its_place_has_another_name_with_another_content(
    one: Workload, other: Workload
) -> None:
    for kind in ("Job", "ConfigMap"):
        named = [
            {found["metadata"]["name"]: found.get("spec", found.get("data")) for found in kinds(workload)[kind]}
            for workload in (one, other)
        ]
        assert all(named[0][name] == named[1][name] for name in named[0].keys() & named[1].keys())


def test_the_settings_are_those_of_a_host() -> None:
    everything = Workload(
        plugin_id="shop.stock",
        version="1.0.0",
        load="stock:Stock",
        image="stock:1",
        section="stock",
        limits=Limits(memory_bytes=2**30, open_files=256),
        config="{}",
        owner_key_secret="owner",
    )
    settings = {f"FORGEMESH_HOST_{one.name.upper()}" for one in fields(HostSettings)}

    assert (variables_of(everything).keys() | OF_THE_POD.keys()) - settings == set()


def test_exit_codes_that_end_a_job_are_those_that_no_repetition_changes() -> None:
    assert FINAL_EXITS == (ExitCode.USAGE, ExitCode.REFUSED)
    rule = only(STOCK, "Job")["spec"]["podFailurePolicy"]["rules"][0]

    assert rule["action"] == "FailJob"
    assert rule["onExitCodes"]["values"] == [2, 4]
    assert only(STOCK, "Job")["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_the_job_asks_the_registry_alone() -> None:
    (container,) = only(STOCK, "Job")["spec"]["template"]["spec"]["containers"]

    assert container["env"] == [{"name": "FORGEMESH_REGISTRY", "value": "registry:7402"}]
    assert container["command"][3:6] == ["plugin", "publish", "stock:Stock"]


def test_the_network_policy_has_the_edges_of_the_mesh_and_no_other() -> None:
    spec = only(STOCK, "NetworkPolicy")["spec"]

    def peers(rules: list[dict[str, Any]], side: str) -> list[tuple[str, list[int]]]:
        name = "app.kubernetes.io/name"
        return [
            (
                rule[side][0]["podSelector"]["matchLabels"][name] if side in rule else "anybody",
                [one["port"] for one in rule["ports"]],
            )
            for rule in rules
        ]

    assert peers(spec["ingress"], "from") == [("orchestrator", [7410]), ("balancer", [7410, 7510])]
    assert peers(spec["egress"], "to") == [("registry", [7402]), ("traces", [7405]), ("anybody", [53, 53])]


def test_keda_is_told_the_rule_and_keeps_what_there_is_while_the_balancer_is_away() -> None:
    rule = ScaleRule(least=0, most=5, target=0.5, down_after=60)
    workload = Workload(
        plugin_id="shop.stock",
        version="1.0.0",
        load="stock:Stock",
        image="stock:1",
        namespace="mesh",
        scaling="keda",
        rule=rule,
        cooldown=90,
    )
    spec = only(workload, "ScaledObject")["spec"]

    assert (spec["minReplicaCount"], spec["maxReplicaCount"], spec["cooldownPeriod"]) == (0, 5, 90)
    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
    assert spec["triggers"] == [
        {
            "type": "external-push",
            "metadata": {
                "scalerAddress": "balancer.mesh.svc:7403",
                "plugin": "shop.stock",
                "version": "1.0.0",
                "minReplicas": "0",
                "maxReplicas": "5",
                "targetUtilization": "0.5",
            },
        }
    ]
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 60


@pytest.mark.parametrize("exclusive", [True, False])
def test_an_exclusive_plugin_never_has_two_pods(exclusive: bool) -> None:
    workload = Workload(plugin_id="a", version="1.0.0", load="a:A", image="a:1", exclusive=exclusive)

    strategy = only(workload, "Deployment")["spec"]["strategy"]["type"]
    assert strategy == ("Recreate" if exclusive else "RollingUpdate")
