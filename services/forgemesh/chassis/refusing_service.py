"""A service that cannot work until a person acts: it runs, is not ready, and tells everybody why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
from google.protobuf import descriptor_pool

from forgemesh.chassis.server import Listen, serving
from forgemesh.faults import Fault


async def refuse_all(listen: Listen, fault: Fault, stop: asyncio.Event) -> None:
    """
    Answer every call with the fault until stopped. Raises PortInUse.

    Health says NOT_SERVING and the reason; startup and liveness are well, since a restart would mend nothing.
    """
    async with serving(listen, (), partial(_add, fault)) as server:
        await server.health.started()
        await server.health.hinder("start", fault.message)
        await stop.wait()


def _add(fault: Fault, server: grpc.aio.Server) -> None:
    async def refuse(requests: Any, context: Any) -> None:
        raise fault

    server.add_generic_rpc_handlers((_EveryMethod(refuse),))


class _EveryMethod(grpc.GenericRpcHandler):
    """The methods that this process knows, but for those of gRPC's own services, such as health."""

    def __init__(self, behaviour: Callable[[Any, Any], Any]) -> None:
        self._handler: Any = grpc.stream_stream_rpc_method_handler(behaviour)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        name = handler_call_details.method.strip("/").replace("/", ".")
        return self._handler if not name.startswith("grpc.") and _is_known(name) else None


def _is_known(method: str) -> bool:
    try:
        descriptor_pool.Default().FindMethodByName(method)
    except KeyError:
        return False
    return True
