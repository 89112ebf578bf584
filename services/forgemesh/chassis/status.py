"""Faults on the wire: google.rpc.Status with ErrorInfo, RetryInfo and BadRequest, there and back."""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from forgemesh.faults import Code, Fault, ForeignFault, Violation, code_of, reason_of

DOMAIN = "forgemesh.dev"
MAX_TRAILERS = 8192
"""Bytes of trailing metadata that every client takes. A status takes four thirds of its size, its message as well."""
_MAX_STATUS = 4800
_MAX_MESSAGE = 1024
_MAX_VALUE = 512
_MAX_VALUES = 1536
_MAX_KEYS, _MAX_KEY = 12, 40
_UNESCAPED = " " + string.punctuation.replace("%", "")
_DETAILS = "grpc-status-details-bin"


def to_status(fault: Fault) -> status_pb2.Status:
    """The fault as a status that fits into trailing metadata, whatever the fault says."""
    status = status_pb2.Status(code=int(code_of(fault)), message=_cut(fault.message, _MAX_MESSAGE))
    info = error_details_pb2.ErrorInfo(reason=reason_of(fault), domain=DOMAIN)
    left = _MAX_VALUES
    for key, value in itertools.islice(fault.metadata.items(), _MAX_KEYS):
        told = info.metadata[_cut(key, _MAX_KEY)] = _cut(value, min(left, _MAX_VALUE))
        left -= _size(told)
    status.details.add().Pack(info)
    if fault.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMicroseconds(int(fault.retry_after * 1e6))
        status.details.add().Pack(retry)
    if fault.violations:
        status.details.add().Pack(_bad_request(fault.violations, _MAX_STATUS - status.ByteSize()))
    return status


def _bad_request(violations: Sequence[Violation], room: int) -> error_details_pb2.BadRequest:
    """As many violations as there is room for, and how many more there are."""
    bad = error_details_pb2.BadRequest()
    room -= 150  # for the last line and the envelope
    for number, violation in enumerate(violations):
        told = bad.field_violations.add(field=_cut(violation.field, 200), description=_cut(violation.message, 300))
        room -= told.ByteSize() + 4
        if room < 0:
            del bad.field_violations[-1]
            bad.field_violations.add(description=f"{len(violations) - number} more violations are not listed here")
            break
    return bad


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
    code = Code(status.code) if status.code in Code._value2member_map_ else Code.UNKNOWN
    return ForeignFault(
        code,
        info.reason or code.name,
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
    """The text without control characters, and so short that it takes no more than `limit` bytes of a header."""
    clean = "".join(c if c.isprintable() else " " for c in text[: limit + 1])
    if _size(clean) <= limit:
        return clean
    room = limit - _size("…")
    kept = itertools.takewhile(lambda taken: taken <= room, itertools.accumulate(map(_size, clean)))
    return clean[: sum(1 for _ in kept)] + "…" if room >= 0 else ""


def _size(text: str) -> int:
    """Bytes in a header, where everything but ASCII is escaped."""
    return len(text) if text.isascii() and "%" not in text else len(quote(text, safe=_UNESCAPED))
