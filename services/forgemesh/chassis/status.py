"""Faults on the wire: google.rpc.Status with ErrorInfo, RetryInfo and BadRequest, there and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from forgemesh.faults import Code, Fault, ForeignFault, Violation, code_of, reason_of

DOMAIN = "forgemesh.dev"
_MAX_MESSAGE = 1024
_MAX_VALUE = 512
_MAX_VIOLATIONS = 20
_DETAILS = "grpc-status-details-bin"


def to_status(fault: Fault) -> status_pb2.Status:
    """The fault as a status that fits into trailing metadata, whatever the fault says."""
    status = status_pb2.Status(code=int(code_of(fault)), message=_cut(fault.message, _MAX_MESSAGE))
    info = error_details_pb2.ErrorInfo(reason=reason_of(fault), domain=DOMAIN)
    for key, value in fault.metadata.items():
        info.metadata[key] = _cut(value, _MAX_VALUE)
    status.details.add().Pack(info)
    if fault.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMicroseconds(int(fault.retry_after * 1e6))
        status.details.add().Pack(retry)
    if fault.violations:
        bad = error_details_pb2.BadRequest()
        for violation in fault.violations[:_MAX_VIOLATIONS]:
            bad.field_violations.add(field=_cut(violation.field, 200), description=_cut(violation.message, 300))
        status.details.add().Pack(bad)
    return status


def from_rpc_error(error: grpc.RpcError) -> Fault:
    """The fault that the peer raised, as the same class; a ForeignFault if the peer said nothing we know."""
    call: Any = error
    code = Code(call.code().value[0])
    message = call.details() or code.name
    status = _status_of(call.trailing_metadata() or ())
    if status is None:
        return ForeignFault(code, code.name, message)
    return from_status(status)


def from_status(status: status_pb2.Status) -> Fault:
    """The fault that a status describes."""
    info, retry, bad = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
    retry_after: float | None = None
    for detail in status.details:
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(retry.DESCRIPTOR):
            detail.Unpack(retry)
            retry_after = retry.retry_delay.ToMicroseconds() / 1e6
        elif detail.Is(bad.DESCRIPTOR):
            detail.Unpack(bad)
    violations = [Violation(v.field, v.description) for v in bad.field_violations]
    known = Fault.by_reason.get(info.reason) if info.domain == DOMAIN else None
    if known is not None:
        return known.rebuild(status.message, dict(info.metadata), violations, retry_after)
    return ForeignFault(
        Code(status.code),
        info.reason or Code(status.code).name,
        status.message,
        dict(info.metadata),
        violations=violations,
        retry_after=retry_after,
    )


def rpc_status_of(fault: Fault) -> grpc.Status:
    """What `context.abort_with_status` takes."""
    return rpc_status.to_status(to_status(fault))


def _status_of(metadata: Iterable[tuple[str, str | bytes]]) -> status_pb2.Status | None:
    for key, value in metadata:
        if key == _DETAILS and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                return None
    return None


def _cut(text: str, limit: int) -> str:
    clean = "".join(c if c.isprintable() else " " for c in text)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"
