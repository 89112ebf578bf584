"""A service whose process stands still: the system still takes connections for it, and nothing is ever said on them."""

import socket
from collections.abc import Iterator

import pytest

from forgemesh.api.registry.v1 import registry_service_pb2 as pb
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from forgemesh.client.peer import Peer
from forgemesh.faults.service import ServiceUnreachable


@pytest.fixture
def silent() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("service", ["registry", "orchestrator"])
async def test_nobody_is_told_to_start_a_mesh_for_it(silent: str, service: str) -> None:
    peer = Peer(service, silent)
    async with peer.channel() as channel:
        with pytest.raises(ServiceUnreachable) as refused:
            await peer.call(RegistryServiceStub(channel).ListPlugins, pb.ListPluginsRequest(), deadline=0.3)

    assert "its process is stopped or hangs" in refused.value.message
    assert "start a mesh" not in refused.value.message


async def test_a_variable_that_leads_there_is_named(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGEMESH_REGISTRY", silent)
    peer = Peer("registry", silent)
    async with peer.channel() as channel:
        with pytest.raises(ServiceUnreachable) as refused:
            await peer.call(RegistryServiceStub(channel).ListPlugins, pb.ListPluginsRequest(), deadline=0.3)

    assert refused.value.message.endswith("FORGEMESH_REGISTRY says that it is there: correct that, or unset it")
