"""What a host may say on a session, and what it may not."""

from __future__ import annotations

from forgemesh.api.plugin.v1 import invocation_pb2, session_pb2
from forgemesh.chassis.counting import excess_of
from forgemesh.orchestrator.dispatch.ports import Invocation
from forgemesh.routing.endpoint import Endpoint

PROTOCOL = 1
MAX_CREDITS = 2**31 - 1
"""As of windows in HTTP/2: whoever grants more has lost count."""


class ProtocolBreach(Exception):
    """A host said what the session protocol does not allow; its text says what."""


def check_greeting(message: object, endpoint: Endpoint, plugin_id: str = "") -> session_pb2.SessionResponse:
    """The first message of a session; raises ProtocolBreach. What either leaves out is not held against it."""
    if not isinstance(message, session_pb2.SessionResponse) or not message.HasField("hello"):
        raise ProtocolBreach("its first message is no hello")
    hello = message.hello
    if hello.protocol != PROTOCOL:
        raise ProtocolBreach(f"it speaks protocol {hello.protocol} and was offered {PROTOCOL} alone")
    if hello.instance_id and hello.instance_id != endpoint.instance_id:
        raise ProtocolBreach(f"it is the instance {hello.instance_id[:200]!r}")
    if plugin_id and hello.plugin_id not in ("", plugin_id):
        raise ProtocolBreach(f"it serves the plugin {hello.plugin_id[:200]!r}")
    if 0 < hello.incarnation < endpoint.incarnation:
        raise ProtocolBreach(f"it is at incarnation {hello.incarnation}, and {endpoint.incarnation} is meant")
    if message.accepted or message.results or message.progress:
        raise ProtocolBreach("it answers calls before any was sent")
    return message


def check_numbers(frame: session_pb2.SessionResponse, size: int) -> None:
    """
    A message of `size` bytes tells of no more calls than one may; raises ProtocolBreach.

    A result that holds too much is no breach: it is a fault of its operation alone.
    """
    excess = excess_of(frame, size)
    if excess is not None:
        raise ProtocolBreach(f"{excess.place}: {excess}")


def check_attempt(result: invocation_pb2.InvocationResult, invocation: Invocation) -> None:
    """A result on a session is of the attempt that was sent; raises ProtocolBreach."""
    if result.attempt != invocation.attempt:
        raise ProtocolBreach(
            f"a result for attempt {result.attempt} of call {result.call_id}, of which attempt"
            f" {invocation.attempt} was sent"
        )


def fits_alone(result: invocation_pb2.InvocationResult, invocation: Invocation, call_id: int) -> bool:
    """Whether an answer to a unary call is of that call; what it leaves out is not held against it."""
    return result.call_id in (0, call_id) and result.attempt in (0, invocation.attempt)
