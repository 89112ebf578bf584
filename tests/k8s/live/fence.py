"""
NetworkPolicies as rules of nftables, for a cluster whose network plugin enforces none.

What a policy means: https://kubernetes.io/docs/concepts/services-networking/network-policies/ (the parts that ours use:
labels of pods and namespaces, and numbered TCP ports). A connection is allowed if the sender's policies let it out and
the receiver's let it in; whoever no policy selects is free. Only the first packet of a connection is looked at.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.k8s.live.cluster import Cluster

Policy = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Peer:
    """A pod as policies see it."""

    name: str
    namespace: str
    labels: dict[str, str]
    namespace_labels: dict[str, str]
    address: str


def may_connect(policies: Sequence[Policy], sender: Peer, receiver: Peer, port: int) -> bool:
    """Whether a pod may open a TCP connection to a port of another one."""
    return _lets(policies, sender, "Egress", receiver, port) and _lets(policies, receiver, "Ingress", sender, port)


def _lets(policies: Sequence[Policy], pod: Peer, direction: str, other: Peer, port: int) -> bool:
    rules, peers = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    selecting = [
        policy["spec"]
        for policy in policies
        if policy["metadata"]["namespace"] == pod.namespace
        and direction in policy["spec"]["policyTypes"]
        and _selects(policy["spec"]["podSelector"], pod.labels)
    ]
    if not selecting:
        return True
    return any(
        _has_port(rule, port) and _has_peer(rule.get(peers, []), pod.namespace, other)
        for spec in selecting
        for rule in spec.get(rules, [])
    )


def _has_port(rule: dict[str, Any], port: int) -> bool:
    ports = rule.get("ports", [])
    return not ports or any(one["port"] == port and one.get("protocol", "TCP") == "TCP" for one in ports)


def _has_peer(peers: Sequence[dict[str, Any]], namespace: str, other: Peer) -> bool:
    if not peers:
        return True
    for peer in peers:
        assert "ipBlock" not in peer, "address blocks are not understood here"
        there = (
            _selects(peer["namespaceSelector"], other.namespace_labels)
            if "namespaceSelector" in peer
            else other.namespace == namespace
        )
        if there and _selects(peer.get("podSelector", {}), other.labels):
            return True
    return False


def _selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    assert not selector.get("matchExpressions"), "expressions are not understood here"
    wanted: dict[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()


@contextlib.contextmanager
def enforced(cluster: Cluster, ports: Sequence[int]) -> Iterator[None]:
    """While the block runs, connections between the pods that are there now, to these ports, follow the policies."""
    policies = cluster.read("networkpolicies", "-A")["items"]
    pods = peers_of(cluster)
    allowed = [
        f"{one.address} . {other.address} . {port}"
        for one in pods
        for other in pods
        for port in ports
        if one is not other and may_connect(policies, one, other, port)
    ]
    addresses = ", ".join(pod.address for pod in pods)
    rules = "".join(
        f"""
        table {family} fence {{
          set allowed {{ type ipv4_addr . ipv4_addr . inet_service; elements = {{ {", ".join(allowed)} }} }}
          set pods {{ type ipv4_addr; elements = {{ {addresses} }} }}
          chain forward {{
            type filter hook forward priority 0; policy accept
            ip saddr @pods ip daddr @pods tcp flags & (syn | ack) == syn jump opened
          }}
          chain opened {{
            ip saddr . ip daddr . tcp dport @allowed return
            tcp dport {{ {", ".join(map(str, ports))} }} drop
          }}
        }}"""
        for family in ("bridge", "inet")  # straight to a pod; by the address of a Service
    )
    _nft(cluster, "-f", "-", given=rules)
    try:
        yield
    finally:
        for family in ("bridge", "inet"):
            _nft(cluster, "delete", "table", family, "fence")


def peers_of(cluster: Cluster) -> list[Peer]:
    """The pods that have an address."""
    namespaces = {
        one["metadata"]["name"]: one["metadata"].get("labels", {}) for one in cluster.read("namespaces")["items"]
    }
    return [
        Peer(
            pod["metadata"]["name"],
            pod["metadata"]["namespace"],
            pod["metadata"].get("labels", {}),
            namespaces[pod["metadata"]["namespace"]],
            pod["status"]["podIP"],
        )
        for pod in cluster.read("pods", "-A")["items"]
        if pod["status"].get("podIP") and "deletionTimestamp" not in pod["metadata"]
    ]


def _nft(cluster: Cluster, *arguments: str, given: str = "") -> None:
    command = [str(cluster.directory / "run"), "nft", *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
