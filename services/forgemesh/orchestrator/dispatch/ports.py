"""What a call asks of the world outside: instances and the links to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from forgemesh.orchestrator.values.failure import Failure
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.routing.eligibility import Permit
from forgemesh.routing.snapshot import Snapshot


class Invocation(msgspec.Struct, frozen=True, kw_only=True):
    """
    A call as it leaves; `remaining` is in seconds, `details` what an earlier attempt last said of itself. With a
    `permit` it is a trial call on a half-open circuit.
    """

    operation: str
    input: Payload
    namespace: str
    execution_id: str
    step_path: str
    attempt: int
    traceparent: str
    remaining: float
    details: Payload | None = None
    permit: Permit | None = None
    run_id: str = ""

    @property
    def idempotency_key(self) -> str:
        """Of every attempt at a step, and of no other; executions of releases without runs keep what they had."""
        if not self.run_id:
            return f"{self.execution_id}/{self.step_path}"
        return f"{self.namespace}/{self.execution_id}@{self.run_id}/{self.step_path}"


class Answer(msgspec.Struct, frozen=True):
    """
    What became of an invocation: an output or a failure; `accepted`: the host had taken it on; `sent`: it had left;
    `told`: the plugin itself says so, as a result or as a refusal that the protocol defines.
    """

    output: Payload | None
    failure: Failure | None
    accepted: bool = True
    session: bool = True
    sent: bool = True
    told: bool = True


class CallObserver(Protocol):
    """Is told what becomes of a call on a link."""

    def answered(self, answer: Answer) -> None:
        """What became of it; told exactly once."""

    def progressed(self, fraction: float, note: str, details: Payload | None) -> None:
        """How far it is, from 0 to 1, a word for people, and what the next attempt is to know; not after the answer."""


class HostLink(Protocol):
    """The way to one incarnation of a plugin instance."""

    @property
    def in_flight(self) -> int: ...

    @property
    def usable(self) -> bool:
        """False once the connection broke, until it stands again, and while the host drains."""

    @property
    def has_room(self) -> bool: ...

    def invoke(self, invocation: Invocation, observer: CallObserver) -> int:
        """Send, and tell the observer later what becomes of it; returns the call's name, for the methods below."""

    def cancel(self, call: int) -> None:
        """Tell the host that nobody wants the call; the answer still comes, if only when the link breaks."""

    def has_left(self, call: int) -> bool:
        """Whether the call is with its host; one that is not, or not any more, is answered at once when cancelled."""

    def hears_progress(self, call: int) -> bool:
        """Whether the host can say how far the call is: on a session, and not when it is called alone."""


class Hosts(Protocol):
    """Snapshots of all plugins and links to their instances."""

    def snapshot(self, plugin_id: str) -> Snapshot | None:
        """The newest; None if no instance was ever known."""

    def links(self, plugin_id: str) -> Mapping[str, HostLink]:
        """To each instance of the plugin's snapshot, by instance id."""

    def on_change(self, listener: Callable[[str], None]) -> None:
        """Tell `listener` the plugin whose snapshot, or the state or room of one of whose links, changed."""
