"""How a session ended, as far as that is held against its instance."""

from __future__ import annotations

import grpc

from forgemesh.chassis.status import from_rpc_error
from forgemesh.orchestrator.dispatch.refusals import NOTHING_RAN
from forgemesh.orchestrator.dispatch.session.codec import MAX_NOTE

_NO_REFUSAL = frozenset((grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNIMPLEMENTED))
"""What comes of a connection that breaks, of a server that stops, and of an instance that knows no sessions."""


def refusal_of(error: grpc.aio.AioRpcError) -> str:
    """By what an instance refuses a session that it should have opened; empty if it does not."""
    fault = from_rpc_error(error)
    if error.code() in _NO_REFUSAL or fault.reason in NOTHING_RAN:
        return ""
    return f"it refuses the session with {error.code().name}: {(error.details() or '')[:MAX_NOTE]!r}"


def first_of(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong first, wherever it is nested."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
