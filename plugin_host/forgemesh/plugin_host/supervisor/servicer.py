"""SupervisorService over gRPC."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from forgemesh.api.supervisor.v1 import host_pb2, supervisor_service_pb2 as pb
from forgemesh.api.supervisor.v1.supervisor_service_pb2_grpc import SupervisorServiceServicer
from forgemesh.plugin_host.supervisor.domain.host import Host, State

_STATES = {
    State.STARTING: host_pb2.HOST_STATE_STARTING,
    State.READY: host_pb2.HOST_STATE_READY,
    State.DRAINING: host_pb2.HOST_STATE_DRAINING,
    State.STOPPED: host_pb2.HOST_STATE_STOPPED,
    State.BACKOFF: host_pb2.HOST_STATE_BACKOFF,
}


class SupervisorServicer(SupervisorServiceServicer):
    """Tells what `hosts` says at the moment of the call."""

    def __init__(self, hosts: Callable[[], Sequence[Host]]) -> None:
        self._hosts = hosts

    async def ListHosts(self, request: pb.ListHostsRequest, context: Any) -> pb.ListHostsResponse:
        ordered = sorted(self._hosts(), key=lambda host: host.instance_id)
        return pb.ListHostsResponse(hosts=[_message(host) for host in ordered])


def _message(host: Host) -> host_pb2.Host:
    return host_pb2.Host(
        instance_id=host.instance_id,
        name=host.name,
        load=host.load,
        state=_STATES[host.state],
        reason=host.reason,
        pid=host.pid,
        restarts=host.restarts,
        started_at=_timestamp(host.started_at),
        next_start_at=_timestamp(host.next_start_at),
    )


def _timestamp(seconds: float) -> Timestamp | None:
    if not seconds:
        return None
    timestamp = Timestamp()
    timestamp.FromMicroseconds(round(seconds * 1e6))
    return timestamp
