"""A server of grpc.aio that answers every start and does nothing else: what others notice there is a crowd's floor."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import grpc
import uvloop

from forgemesh.api.orchestrator.v1 import orchestrator_service_pb2 as pb
from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceStub
from forgemesh.chassis.channel import connect
from forgemesh.chassis.descriptors import raise_descriptor_limit
from forgemesh.chassis.server import CLIENT_STREAMS, Listen, server_options
from tests.mesh.crowds import DEADLINE, NAME, Crowd, Noticed, sent, timing


async def _answer(request: Any, context: Any) -> pb.StartExecutionResponse:
    return pb.StartExecutionResponse()


_HANDLER = grpc.method_handlers_generic_handler(
    pb.DESCRIPTOR.services_by_name["OrchestratorService"].full_name,
    {
        "StartExecution": grpc.unary_unary_rpc_method_handler(
            _answer,
            request_deserializer=pb.StartExecutionRequest.FromString,
            response_serializer=pb.StartExecutionResponse.SerializeToString,
        )
    },
)


async def floor(crowd: Crowd) -> Noticed:
    """What somebody who starts something now and then notices of the crowd at a server that only answers."""
    noticed = Noticed()
    async with bare_server() as address, connect(address) as channel:
        stub = OrchestratorServiceStub(channel)
        request = pb.StartExecutionRequest(workflow="hello", input=NAME)
        async with timing(lambda: stub.StartExecution(request, timeout=DEADLINE), noticed.starts):
            await sent(crowd, {"orchestrator": {"address": address}})
    return noticed


@contextlib.asynccontextmanager
async def bare_server() -> AsyncIterator[str]:
    """It runs in a process of its own while the block does; yields its address."""
    context = get_context("spawn")
    ours, its = context.Pipe()
    process = context.Process(target=_run, args=(its,), daemon=True)
    await asyncio.to_thread(process.start)
    try:
        yield str(await asyncio.to_thread(ours.recv))
    finally:
        process.kill()
        await asyncio.to_thread(process.join)


def _run(pipe: Connection) -> None:
    raise_descriptor_limit()
    uvloop.run(_serve(pipe))


async def _serve(pipe: Connection) -> None:
    listen = Listen(address="127.0.0.1:0", health_address="127.0.0.1:0", streams=CLIENT_STREAMS)
    server = grpc.aio.server(options=server_options(listen))
    server.add_generic_rpc_handlers((_HANDLER,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    pipe.send(f"127.0.0.1:{port}")
    await server.wait_for_termination()
