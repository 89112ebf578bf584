"""What a caller asks for when an execution shall start."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from forgemesh.api.orchestrator.v1 import orchestrator_service_pb2 as pb
from forgemesh.chassis.channel import SESSION_LIMIT
from forgemesh.client.control import Signal
from forgemesh.client.payload import encoded
from forgemesh.client.peer import check_size
from forgemesh.faults import Fault

IdReuse = Literal["reject_duplicate", "allow_duplicate", "allow_duplicate_failed_only"]
IdConflict = Literal["fail", "use_existing", "terminate_existing"]

_MOST = 1000
_ENVELOPE = 8
MOST_BYTES = SESSION_LIMIT - 2 * _ENVELOPE
"""Of the requests of one call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """
    One execution that shall start; `input` is anything msgspec encodes as JSON, or a Payload.

    A repetition with the same `request_id` gets the same execution; None makes one up. `id_reuse` says whether an
    `execution_id` may be used again once its execution has ended, `id_conflict` what happens while that is open.
    Of the executions that compete for an instance the one with the higher `priority` (-1000 to 1000) goes first.
    `signal` comes with the start or, where an open execution is used, to that one. One that starts `paused` does
    nothing until it is resumed. The answer waits up to `wait` seconds for the end.
    """

    workflow: str
    input: object = None
    execution_id: str | None = None
    request_id: str | None = None
    version: str | None = None
    namespace: str = "default"
    id_reuse: IdReuse = "reject_duplicate"
    id_conflict: IdConflict = "fail"
    priority: int = 0
    signal: Signal | None = None
    paused: bool = False
    wait: float = 0.0

    def request(self) -> pb.StartExecutionRequest:
        """As the API takes it; policies are only said where they differ from the default."""
        reuse, conflict = self.id_reuse, self.id_conflict
        return pb.StartExecutionRequest(
            namespace=self.namespace,
            workflow=self.workflow,
            workflow_version=self.version or "",
            execution_id=self.execution_id or "",
            request_id=self.request_id or secrets.token_hex(16),
            input=encoded(self.input, "the input"),
            wait_millis=int(self.wait * 1000),
            id_reuse_policy=pb.IdReusePolicy.Value(f"ID_REUSE_POLICY_{_said(reuse, 'reject_duplicate')}"),
            id_conflict_policy=pb.IdConflictPolicy.Value(f"ID_CONFLICT_POLICY_{_said(conflict, 'fail')}"),
            priority=self.priority,
            signal=self.signal.message() if self.signal is not None else None,
            paused=self.paused,
        )


def sendable(start: Start) -> pb.StartExecutionRequest | Fault:
    """The request, or why it cannot be sent."""
    try:
        request = start.request()
        check_size(request, MOST_BYTES)
    except Fault as fault:
        return fault
    return request


def batches(requests: Iterable[pb.StartExecutionRequest]) -> Iterator[list[pb.StartExecutionRequest]]:
    """The requests in order, in lists that one call carries: in number and in bytes."""
    batch: list[pb.StartExecutionRequest] = []
    size = 0
    for request in requests:
        more = request.ByteSize() + _ENVELOPE
        if batch and (len(batch) == _MOST or size + more > MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(request)
        size += more
    if batch:
        yield batch


def _said(policy: str, default: str) -> str:
    return "UNSPECIFIED" if policy == default else policy.upper()
