"""What the registry's catalogue says of plugins, kept for the time in which it says nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import grpc

from forgemesh.api.registry.v1 import registry_service_pb2 as pb
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from forgemesh.chassis.next_command import Unreached, unreachable
from forgemesh.chassis.status import from_rpc_error
from forgemesh.faults import Fault, ForeignFault
from forgemesh.faults.registry import PluginNotFound

_log = logging.getLogger(__name__)

DEADLINE = 2.0
PAGE = 500
FRESH = 5.0
"""Seconds for which the registry is not asked again."""


class PluginCatalogue:
    """See ports.Catalogue. `address` is the registry's, `clock` monotonic."""

    def __init__(self, channel: grpc.aio.Channel, address: str, clock: Callable[[], float]) -> None:
        self._stub = RegistryServiceStub(channel)
        self._address = address
        self._clock = clock
        self._known: dict[str, tuple[float, Mapping[str, int]]] = {}

    async def capacities(self, plugin_id: str) -> Mapping[str, int]:
        at, known = self._known.get(plugin_id, (0.0, None))
        if known is not None and self._clock() < at + FRESH:
            return known
        try:
            found = await self._ask(plugin_id)
        except PluginNotFound:
            self._known.pop(plugin_id, None)
            raise
        except Fault as fault:
            if known is None:
                raise
            _log.info(
                "the registry does not say what %s can do (%s); what it said last counts", plugin_id, fault.message
            )
            return known
        self._known[plugin_id] = self._clock(), found
        return found

    async def _ask(self, plugin_id: str) -> Mapping[str, int]:
        found: dict[str, int] = {}
        request = pb.ListPluginsRequest(plugin_id=plugin_id, page_size=PAGE)
        while True:
            try:
                page = await self._stub.ListPlugins(request, timeout=DEADLINE)
            except grpc.aio.AioRpcError as error:
                fault = from_rpc_error(error)
                if isinstance(fault, ForeignFault):
                    unreached = (
                        Unreached.SILENT if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED else Unreached.NOBODY
                    )
                    raise unreachable("registry", self._address, fault.message, unreached=unreached) from error
                raise fault from error
            found |= {manifest.version: manifest.max_concurrency for manifest in page.manifests}
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        if not found:
            raise PluginNotFound(plugin_id)
        return found
