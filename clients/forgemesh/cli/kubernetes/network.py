"""Who may connect to a plugin's pods, and to whom they may: the mesh's own edges, and what the operator adds."""

from __future__ import annotations

from typing import Any

from forgemesh.cli.kubernetes.environment import HEALTH_PORT, PORT, REGISTRY, TRACES
from forgemesh.cli.kubernetes.labels import metadata_of, pods_of, service_pods
from forgemesh.cli.kubernetes.workload import Egress, Workload


def network_policy(workload: Workload) -> dict[str, Any]:
    """
    Calls come from the orchestrator and health checks from the balancer; the plugin goes to registry, traces and DNS.

    It holds for the pods that publish as well. The kubelet's probes come from the node, which policies let through.
    """
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata_of(workload),
        "spec": {
            "podSelector": {"matchLabels": pods_of(workload)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": [_pods("orchestrator")], "ports": [_tcp(PORT)]},
                {"from": [_pods("balancer")], "ports": [_tcp(PORT), _tcp(HEALTH_PORT)]},
            ],
            "egress": [
                *({"to": [_pods(name)], "ports": [_tcp(int(port))]} for name, port in _addresses()),
                {"ports": [{"protocol": "UDP", "port": 53}, _tcp(53)]},
                *map(_beyond, workload.egress),
            ],
        },
    }


def _addresses() -> list[tuple[str, str]]:
    return [(name, port) for name, _, port in (address.partition(":") for address in (REGISTRY, TRACES))]


def _pods(service: str) -> dict[str, Any]:
    return {"podSelector": {"matchLabels": service_pods(service)}}


def _tcp(port: int) -> dict[str, Any]:
    return {"protocol": "TCP", "port": port}


def _beyond(egress: Egress) -> dict[str, Any]:
    ports = {"ports": [_tcp(egress.port)]} if egress.port is not None else {}
    return {"to": [{"ipBlock": {"cidr": egress.network}}], **ports}
