"""What can be done to an execution, to one by its handle and to many by `Client.control_many`."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from forgemesh.api.orchestrator.v1 import control_pb2 as pb
from forgemesh.client.payload import encoded
from forgemesh.faults import Fault

PauseMode = Literal["drain", "interrupt"]
IncidentAction = Literal["retry", "complete", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """
    Start nothing new until it is resumed: what runs ends (drain), or is taken back and made again later (interrupt).

    With `hold_clock` the execution's timeout stands still meanwhile; timers of waits go on.
    """

    verb: ClassVar[str] = "pause"
    mode: PauseMode = "drain"
    hold_clock: bool = False
    reason: str = ""
    by: str | None = None

    def request(self, namespace: str = "", execution_id: str = "", run_id: str = "") -> pb.PauseExecutionRequest:
        """As the API takes it."""
        return pb.PauseExecutionRequest(
            namespace=namespace,
            execution_id=execution_id,
            run_id=run_id,
            mode=pb.PauseMode.Value(f"PAUSE_MODE_{self.mode.upper()}"),
            hold_clock=self.hold_clock,
            by=caller(self.by),
            reason=self.reason,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Let it go on; with `checkpoint_id` only if that is the newest one, so that nothing has happened since."""

    verb: ClassVar[str] = "resume"
    checkpoint_id: str = ""
    by: str | None = None

    def request(self, namespace: str = "", execution_id: str = "", run_id: str = "") -> pb.ResumeExecutionRequest:
        """As the API takes it."""
        return pb.ResumeExecutionRequest(
            namespace=namespace,
            execution_id=execution_id,
            run_id=run_id,
            checkpoint_id=self.checkpoint_id,
            by=caller(self.by),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Stop it: what runs is taken back, then what it did is undone."""

    verb: ClassVar[str] = "cancel"
    reason: str = ""
    by: str | None = None

    def request(self, namespace: str = "", execution_id: str = "", run_id: str = "") -> pb.CancelExecutionRequest:
        """As the API takes it."""
        return pb.CancelExecutionRequest(
            namespace=namespace, execution_id=execution_id, run_id=run_id, by=caller(self.by), reason=self.reason
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminate:
    """End it at once; nothing is undone."""

    verb: ClassVar[str] = "terminate"
    reason: str = ""
    by: str | None = None

    def request(self, namespace: str = "", execution_id: str = "", run_id: str = "") -> pb.TerminateExecutionRequest:
        """As the API takes it."""
        return pb.TerminateExecutionRequest(
            namespace=namespace, execution_id=execution_id, run_id=run_id, by=caller(self.by), reason=self.reason
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """
    Send a signal, which is kept until a step waits for it. `payload` is anything msgspec encodes as JSON, or a Payload.

    One with a `signal_id` that the execution has had already changes nothing, so that it may be sent again.
    """

    verb: ClassVar[str] = "signal"
    name: str
    payload: object = None
    signal_id: str = ""
    by: str | None = None

    def message(self) -> pb.Signal:
        """The signal alone."""
        payload = encoded(self.payload, f"the signal {self.name!r}", "signal.payload")
        return pb.Signal(name=self.name, payload=payload, signal_id=self.signal_id)

    def request(self, namespace: str = "", execution_id: str = "", run_id: str = "") -> pb.SignalExecutionRequest:
        """As the API takes it."""
        return pb.SignalExecutionRequest(
            namespace=namespace, execution_id=execution_id, run_id=run_id, signal=self.message(), by=caller(self.by)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolve:
    """
    Decide about a step that waits for a person: it is tried again, counts as succeeded, or counts as failed.

    `payload` is another input for a retry (None: the same one) or the output of a completion (None: null).
    """

    verb: ClassVar[str] = "resolve"
    step_path: str
    action: IncidentAction
    payload: object = None
    reason: str = ""
    by: str | None = None

    def request(self, namespace: str = "", execution_id: str = "", run_id: str = "") -> pb.ResolveIncidentRequest:
        """As the API takes it."""
        return pb.ResolveIncidentRequest(
            namespace=namespace,
            execution_id=execution_id,
            run_id=run_id,
            step_path=self.step_path,
            action=pb.IncidentAction.Value(f"INCIDENT_ACTION_{self.action.upper()}"),
            payload=encoded(self.payload, f"what {self.step_path!r} goes on with", "payload"),
            by=caller(self.by),
            reason=self.reason,
        )


@dataclass(frozen=True, slots=True)
class Delete:
    """Forget it with its history, once it has ended."""

    verb: ClassVar[str] = "delete"

    def request(self, namespace: str = "", execution_id: str = "", run_id: str = "") -> pb.DeleteExecutionRequest:
        """As the API takes it."""
        return pb.DeleteExecutionRequest(namespace=namespace, execution_id=execution_id, run_id=run_id)


Action = Pause | Resume | Cancel | Terminate | Signal | Resolve | Delete


@dataclass(frozen=True, slots=True, kw_only=True)
class Controlled:
    """
    What became of many: to which it was done, and why the others were refused, each by its id, or by ID@RUN where it
    was named so.

    `runs` says which run each one is, as far as that was found.

    `more` says that a filter fits more executions than were taken by one call.
    """

    done: tuple[str, ...] = ()
    refused: Mapping[str, Fault] = field(default_factory=dict)
    more: bool = False
    runs: Mapping[str, str] = field(default_factory=dict)


def caller(named: str | None = None) -> str:
    """Who asks, for the history: the name given, else user@host."""
    if named is not None:
        return named
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user need not have a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
