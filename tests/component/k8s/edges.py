"""Who may talk to whom by the network policies, and who has to by the code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from tests.component.k8s.manifests import Document, Manifests, Workload, agrees, name_of
from tests.component.k8s.processes import OTHERS, PEERS, Process, processes

Edge: TypeAlias = tuple[str, str, int]
"""From whom, to whom, to which port."""

CALLER = {"forgemesh.dev/caller": "true"}
KEDA = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}},
    "podSelector": {"matchLabels": {"app": "keda-operator"}},
}
OUTSIDERS = {
    ("orchestrator", 7401): [{"podSelector": {"matchLabels": CALLER}}, {"namespaceSelector": {"matchLabels": CALLER}}],
    ("balancer", 7403): [KEDA],
}
"""What others may reach: callers start executions, KEDA asks for demand."""
DNS = 53


def edge_problems(manifests: Manifests) -> Iterator[str]:
    """Edges that are needed and closed, or open and not needed, at either end."""
    yield from _defaults(manifests)
    needed = set(needed_edges(manifests))
    for name, open_edges in (("leave", set(_leaving(manifests))), ("enter", set(_entering(manifests)))):
        yield from (f"no policy lets {a} {name} for {b}:{port}" for a, b, port in sorted(needed - open_edges))
        yield from (
            f"{a} may {name} for {b}:{port}, which it does not need" for a, b, port in sorted(open_edges - needed)
        )
    yield from _strangers(manifests)


def needed_edges(manifests: Manifests) -> Iterator[Edge]:
    """What the settings say, and that services call whatever registers."""
    all_processes = [process for process in processes(manifests) if process.settings is not None]
    for process in all_processes:
        addresses = [str(process.value(name)) for name in PEERS] + [
            process.environment.get(name, "") for name in OTHERS
        ]
        for address in filter(None, addresses):
            if (behind := manifests.behind(address)) is not None:
                yield process.workload.title, behind[0].title, behind[1]
    for host in (process for process in all_processes if process.section == "host"):
        yield from _to_a_host(host, all_processes)


def _to_a_host(host: Process, all_processes: list[Process]) -> Iterator[Edge]:
    for process in all_processes:
        if process.section == "orchestrator":
            yield process.workload.title, host.workload.title, host.port("listen")
        if process.section == "balancer":  # health and load at the one port, a proof of identity at the other
            yield process.workload.title, host.workload.title, host.port("listen")
            yield process.workload.title, host.workload.title, host.port("health_listen")


def _defaults(manifests: Manifests) -> Iterator[str]:
    policies = list(manifests.of("NetworkPolicy"))
    if not any(_denies_all(policy["spec"]) for policy in policies):
        yield "no NetworkPolicy denies everything to every pod"
    for workload in manifests.workloads:
        own = [
            one
            for one in policies
            if one["spec"].get("podSelector") and agrees(one["spec"]["podSelector"], workload.labels)
        ]
        if not own:
            yield f"{workload.title}: no NetworkPolicy is about it"
        rules = [rule for one in _about(manifests, workload) for rule in one.get("egress", ())]
        if not any(_takes_port(rule, DNS, {}) and "to" not in rule for rule in rules):
            yield f"{workload.title}: no NetworkPolicy lets it ask for names"
    for policy in policies:
        if policy["spec"].get("podSelector") and not _is_of_somebody(manifests, policy["spec"]["podSelector"]):
            yield f"{name_of(policy)}: its podSelector takes no pod"


def _denies_all(spec: Document) -> bool:
    nothing = not spec.get("ingress") and not spec.get("egress")
    return spec.get("podSelector") == {} and set(spec.get("policyTypes", ())) == {"Ingress", "Egress"} and nothing


def _is_of_somebody(manifests: Manifests, selector: Document) -> bool:
    plugin = {"app.kubernetes.io/component": "plugin"}
    return bool(manifests.selected(selector)) or agrees(selector, CALLER) or agrees(selector, plugin)


def _about(manifests: Manifests, workload: Workload) -> Iterator[Document]:
    for policy in manifests.of("NetworkPolicy"):
        if agrees(policy["spec"].get("podSelector"), workload.labels):
            yield policy["spec"]


def _leaving(manifests: Manifests) -> Iterator[Edge]:
    for source in manifests.workloads:
        for spec in _about(manifests, source):
            for rule in spec.get("egress", ()):
                for target in manifests.workloads:
                    if _takes_peer(manifests, rule.get("to", ()), target):
                        yield from ((source.title, target.title, port) for port in _ports(rule, target))


def _entering(manifests: Manifests) -> Iterator[Edge]:
    for target in manifests.workloads:
        for spec in _about(manifests, target):
            for rule in spec.get("ingress", ()):
                for source in manifests.workloads:
                    if _takes_peer(manifests, rule.get("from", ()), source):
                        yield from ((source.title, target.title, port) for port in _ports(rule, target))


def _takes_peer(manifests: Manifests, peers: list[Document], workload: Workload) -> bool:
    for peer in peers:
        near = "namespaceSelector" not in peer or agrees(peer["namespaceSelector"], manifests.namespace_labels)
        if "ipBlock" not in peer and near and agrees(peer.get("podSelector", {}), workload.labels):
            return True
    return False


def _ports(rule: Document, target: Workload) -> Iterator[int]:
    yield from (port for port in target.ports.values() if _takes_port(rule, port, target.ports))


def _takes_port(rule: Document, port: int, names: dict[str, int]) -> bool:
    if not rule.get("ports"):
        return True
    for listed in rule["ports"]:
        first = names.get(listed.get("port"), listed.get("port"))
        if first is None or first == port or ("endPort" in listed and first <= port <= listed["endPort"]):
            return True
    return False


def _strangers(manifests: Manifests) -> Iterator[str]:
    """Rules that are about more than pods of this mesh."""
    for policy in manifests.of("NetworkPolicy"):
        spec = policy["spec"]
        for rule in spec.get("ingress", ()):
            yield from (f"{name_of(policy)}: {problem}" for problem in _incoming(manifests, spec, rule))
        for rule in spec.get("egress", ()):
            ports = {listed.get("port") for listed in rule.get("ports", ())}
            if ("to" not in rule or any("ipBlock" in peer for peer in rule["to"])) and ports != {DNS}:
                yield f"{name_of(policy)}: it lets pods reach anybody at {sorted(map(str, ports)) or 'every port'}"


def _incoming(manifests: Manifests, spec: Document, rule: Document) -> Iterator[str]:
    if not rule.get("from"):
        yield "it lets anybody in"
        return
    for workload in manifests.selected(spec.get("podSelector")):
        for port in _ports(rule, workload):
            expected = OUTSIDERS.get((workload.name, port), [])
            for peer in rule["from"]:
                if peer not in expected and not _is_of_the_mesh(manifests, peer):
                    yield f"it lets others than callers and KEDA reach {workload.title}:{port}: {peer}"
            yield from (
                f"it does not let {peer} reach {workload.title}:{port}" for peer in expected if peer not in rule["from"]
            )


def _is_of_the_mesh(manifests: Manifests, peer: Document) -> bool:
    return peer.keys() == {"podSelector"} and _is_of_somebody(manifests, peer["podSelector"])
