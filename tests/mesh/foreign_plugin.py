"""A plugin as somebody writes it in any language: plain gRPC and the protos, nothing of the SDK. Run as a program."""

from __future__ import annotations

import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from forgemesh.api.plugin.v1 import manifest_pb2, plugin_service_pb2
from forgemesh.api.plugin.v1.plugin_service_pb2_grpc import PluginServiceServicer, add_PluginServiceServicer_to_server
from forgemesh.api.supervisor.v1 import supervisor_service_pb2
from forgemesh.api.supervisor.v1.supervisor_service_pb2_grpc import SupervisorServiceStub

MANIFEST = manifest_pb2.Manifest(
    plugin_id="test.foreign", version="3.1.0", operations=[manifest_pb2.Operation(name="reverse")]
)


class Plugin(PluginServiceServicer):
    """One operation, and a switch for its health."""

    def __init__(self, status: health.HealthServicer) -> None:
        self._status = status

    def Describe(self, request: Any, context: Any) -> plugin_service_pb2.DescribeResponse:
        return plugin_service_pb2.DescribeResponse(manifest=MANIFEST)

    def Invoke(self, request: Any, context: Any) -> plugin_service_pb2.InvokeResponse:
        response = plugin_service_pb2.InvokeResponse()
        response.result.attempt = request.invocation.attempt
        text = json.loads(request.invocation.input.data)["text"]
        if text == "sick":
            self._status.set("readiness", health_pb2.HealthCheckResponse.NOT_SERVING)
        if text == "well":
            self._status.set("readiness", health_pb2.HealthCheckResponse.SERVING)
        response.result.output.data = json.dumps(text[::-1]).encode()
        return response


def main() -> None:
    """Serve, announce it, and wait for the end."""
    status = health.HealthServicer()
    server = grpc.server(ThreadPoolExecutor(4))
    made: Any = Plugin
    add_PluginServiceServicer_to_server(made(status), server)
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    if "--without-health" not in sys.argv:
        status.set("readiness", health_pb2.HealthCheckResponse.SERVING)
    request = supervisor_service_pb2.AnnounceRequest(
        token=os.environ["FORGEMESH_HOST_TOKEN"],
        instance_id=os.environ["FORGEMESH_HOST_INSTANCE_ID"],
        address=f"127.0.0.1:{port}",
        manifest=MANIFEST if "--with-manifest" in sys.argv else None,
    )
    with grpc.insecure_channel(os.environ["FORGEMESH_HOST_SUPERVISOR"]) as channel:
        SupervisorServiceStub(channel).Announce(request, timeout=10)
    print("announced", flush=True)
    kept = []
    while "--leak" in sys.argv:
        kept.append(b"x" * (1 << 20))
    threading.Event().wait()


if __name__ == "__main__":
    main()
