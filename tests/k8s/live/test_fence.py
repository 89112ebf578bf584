"""The NetworkPolicies let through what the mesh needs, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.k8s.live.cluster import NAMESPACE, Cluster, Pod
from tests.k8s.live.fence import enforced
from tests.k8s.live.mesh import NOOP, ClusterMesh

PORTS = {"orchestrator": 7401, "registry": 7402, "balancer": 7403, "traces": 7405, "plugin": 7410, "health": 7510}

NEEDED = (
    ("orchestrator", "registry", "registry"),
    ("orchestrator", "balancer", "balancer"),
    ("orchestrator", "traces", "traces"),
    ("orchestrator", "plugin", "plugin"),
    ("balancer", "registry", "registry"),
    ("balancer", "plugin", "plugin"),
    ("balancer", "plugin", "health"),
    ("plugin", "registry", "registry"),
    ("plugin", "traces", "traces"),
)
FORBIDDEN = (
    ("plugin", "orchestrator", "orchestrator"),
    ("plugin", "balancer", "balancer"),
    ("plugin", "another plugin", "plugin"),
    ("traces", "registry", "registry"),
    ("registry", "orchestrator", "orchestrator"),
    ("balancer", "traces", "traces"),
    ("orchestrator", "plugin", "health"),
)

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def fence(mesh: ClusterMesh) -> Iterator[dict[str, Pod]]:
    """The policies enforced, and the pods by their parts."""
    first, second, *_ = mesh.cluster.until_ready(NOOP, 3)
    parts = {name: mesh.service(name) for name in ("orchestrator", "registry", "balancer", "traces")}
    with enforced(mesh.cluster, list(PORTS.values())):
        yield parts | {"plugin": first, "another plugin": second}


@pytest.mark.parametrize(("sender", "receiver", "port"), NEEDED)
def test_an_edge_that_the_mesh_needs_is_open(
    mesh: ClusterMesh, fence: dict[str, Pod], sender: str, receiver: str, port: str
) -> None:
    assert _connects(mesh.cluster, fence[sender], fence[receiver].address, PORTS[port]) == "connected"


@pytest.mark.parametrize(("sender", "receiver", "port"), FORBIDDEN)
def test_an_edge_that_nobody_needs_is_shut(
    mesh: ClusterMesh, fence: dict[str, Pod], sender: str, receiver: str, port: str
) -> None:
    assert _connects(mesh.cluster, fence[sender], fence[receiver].address, PORTS[port]) == "TimeoutError"


@pytest.mark.parametrize("service", ["registry", "traces"])
def test_an_edge_is_open_by_the_services_name_too(mesh: ClusterMesh, fence: dict[str, Pod], service: str) -> None:
    assert _connects(mesh.cluster, fence["orchestrator"], service, PORTS[service]) == "connected"


def test_an_edge_that_nobody_needs_is_shut_by_the_services_name_too(mesh: ClusterMesh, fence: dict[str, Pod]) -> None:
    assert _connects(mesh.cluster, fence["plugin"], "balancer", PORTS["balancer"]) == "TimeoutError"


def _connects(cluster: Cluster, sender: Pod, host: str, port: int) -> str:
    """What a pod meets that opens a connection."""
    program = (
        "import socket\n"
        f"try: socket.create_connection(({host!r}, {port}), 3); print('connected')\n"
        "except OSError as error: print(type(error).__name__)"
    )
    return cluster.kubectl("exec", "-n", NAMESPACE, sender.name, "--", "python", "-c", program).strip()
