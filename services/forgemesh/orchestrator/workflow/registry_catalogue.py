"""The registry's catalogue of plugins."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import grpc

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.api.registry.v1 import registry_service_pb2, registry_service_pb2_grpc
from forgemesh.chassis.next_command import Unreached, unreachable
from forgemesh.chassis.status import from_rpc_error
from forgemesh.faults import ForeignFault
from forgemesh.faults.registry import PluginNotFound
from forgemesh.orchestrator.workflow.provider import OperationFacts, Provider

DEADLINE = 5.0
PAGE = 500

_IDEMPOTENT = {manifest_pb2.IDEMPOTENCY_IDEMPOTENT: True, manifest_pb2.IDEMPOTENCY_NOT_IDEMPOTENT: False}


class RegistryCatalogue:
    """See ports.Catalogue."""

    def __init__(self, channel: grpc.aio.Channel, address: str) -> None:
        self._stub = registry_service_pb2_grpc.RegistryServiceStub(channel)
        self._address = address

    async def plugins(self, plugin_id: str) -> dict[str, Mapping[str, OperationFacts]] | None:
        try:
            manifests = await self._manifests(plugin_id)
        except PluginNotFound:
            return None
        return {manifest.version: _operations(manifest) for manifest in manifests} or None

    async def providers(self, interfaces: Collection[str]) -> dict[str, list[Provider]]:
        found: dict[str, list[Provider]] = {interface: [] for interface in interfaces}
        for manifest in await self._manifests("") if interfaces else ():
            for provided in manifest.provides:
                if provided.name in found:
                    found[provided.name].append(_provider(manifest, provided.version))
        return found

    async def request(self, plugin_id: str, interface: str) -> None:
        """Say that calls wait for a plugin or, if that is empty, for an interface, of which no instance runs."""
        request = registry_service_pb2.RequestPluginRequest(plugin_id=plugin_id, interface_name=interface)
        try:
            await self._stub.RequestPlugin(request, timeout=DEADLINE)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    async def _manifests(self, plugin_id: str) -> list[manifest_pb2.Manifest]:
        found: list[manifest_pb2.Manifest] = []
        request = registry_service_pb2.ListPluginsRequest(plugin_id=plugin_id, page_size=PAGE)
        while True:
            try:
                response = await self._stub.ListPlugins(request, timeout=DEADLINE)
            except grpc.aio.AioRpcError as error:
                fault = from_rpc_error(error)
                if isinstance(fault, ForeignFault):
                    unreached = (
                        Unreached.SILENT if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED else Unreached.NOBODY
                    )
                    raise unreachable("registry", self._address, fault.message, unreached=unreached) from error
                raise fault from error
            found.extend(response.manifests)
            if not response.next_page_token:
                return found
            request.page_token = response.next_page_token


def _provider(manifest: manifest_pb2.Manifest, interface_version: str) -> Provider:
    return Provider(
        plugin_id=manifest.plugin_id,
        plugin_version=manifest.version,
        interface_version=interface_version,
        operations=_operations(manifest),
        metadata=dict(manifest.metadata),
        priority=manifest.priority,
    )


def _operations(manifest: manifest_pb2.Manifest) -> dict[str, OperationFacts]:
    return {operation.name: _facts(operation) for operation in manifest.operations}


def _facts(operation: manifest_pb2.Operation) -> OperationFacts:
    timeout = operation.timeout.ToMicroseconds() / 1e6 if operation.HasField("timeout") else None
    return OperationFacts(_IDEMPOTENT.get(operation.idempotency), timeout, operation.input_schema)
