"""The registry's catalogue of plugins."""

from __future__ import annotations

import grpc

from forgemesh.api.registry.v1 import registry_service_pb2, registry_service_pb2_grpc
from forgemesh.chassis.status import from_rpc_error
from forgemesh.faults import ForeignFault
from forgemesh.faults.registry import PluginNotFound
from forgemesh.faults.service import ServiceUnreachable

DEADLINE = 5.0


class RegistryCatalogue:
    """See ports.Catalogue."""

    def __init__(self, channel: grpc.aio.Channel, address: str) -> None:
        self._stub = registry_service_pb2_grpc.RegistryServiceStub(channel)
        self._address = address

    async def operations(self, plugin_id: str) -> dict[str, frozenset[str]] | None:
        request = registry_service_pb2.ListPluginsRequest(plugin_id=plugin_id, page_size=500)
        try:
            response = await self._stub.ListPlugins(request, timeout=DEADLINE)
        except grpc.aio.AioRpcError as error:
            fault = from_rpc_error(error)
            if isinstance(fault, PluginNotFound):
                return None
            if isinstance(fault, ForeignFault):
                raise ServiceUnreachable("registry", self._address, fault.message) from error
            raise fault from error
        known = {m.version: frozenset(o.name for o in m.operations) for m in response.manifests}
        return known or None
