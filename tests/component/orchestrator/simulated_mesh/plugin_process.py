"""A plugin's process: it takes calls, has effects, answers, refuses and dies, each before and after anything else."""

from __future__ import annotations

import json
from asyncio import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc

from forgemesh.api.errors.v1 import failure_pb2
from forgemesh.api.payload.v1 import payload_pb2
from forgemesh.api.plugin.v1 import invocation_pb2, plugin_service_pb2, session_pb2
from forgemesh.faults import Code, Fault
from forgemesh.faults.plugin import InstanceDraining, InstanceFull, WrongIncarnation
from forgemesh.faults.workflow import Cancelled
from forgemesh.orchestrator.values.failure import Failure, failure_of
from forgemesh.orchestrator.wire.payloads import failure_to_message
from tests.component.orchestrator.simulated_mesh.wire import CUT, bare, refused

if TYPE_CHECKING:
    from tests.component.orchestrator.simulated_mesh.plugins import Plugins
    from tests.component.orchestrator.simulated_mesh.wire import Channel, Stream

CAPACITY = 6

FATES = {
    "done": 60,
    "broken": 6,
    "away": 9,
    "late": 3,
    "refused": 4,
    "unseen": 2,
    "done and dead before the receipt": 3,
    "dead after the receipt": 2,
    "done and dead after the receipt": 2,
    "done and dead after the answer": 2,
    "done and a bare error": 2,
    "silent": 1,
}
"""What becomes of a call, and how often."""


@dataclass(eq=False)
class HostCall:
    """One call that has reached a process; it answers through its session or, alone, through `alone`."""

    process: PluginProcess
    invocation: invocation_pb2.Invocation
    session: HostSession | None
    alone: Future[plugin_service_pb2.InvokeResponse] | None
    over: bool = False
    told_to_stop: bool = False

    def cancel(self) -> None:
        """Nobody wants it any more; an operation that has begun may not listen."""
        if not self.over and self.process.plugins.draw.random() < 0.6:
            self.told_to_stop = True
            failure = failure_of(Cancelled(self.invocation.step_path), step_path=self.invocation.step_path)
            self.process.plugins.calendar.after(0.001, lambda: self.fail(failure))

    def effect(self) -> None:
        """It happens."""
        if not self.over and self.process.alive and not self.told_to_stop:
            self.process.plugins.happened(self)

    def succeed(self) -> None:
        plugins = self.process.plugins
        if self.over or not self.process.alive:
            return
        value = plugins.output_of(self)
        self._answer(output=payload_pb2.Payload(data=json.dumps(value).encode()))

    def fail(self, failure: Failure) -> None:
        if not self.over and self.process.alive:
            self._answer(failure=failure_to_message(failure))

    def refuse(self, fault: Fault) -> None:
        """As the protocol says: it has not begun."""
        self.process.plugins.never_left(self.invocation)
        if self.alone is not None:
            self._end_alone(refused(fault))
        else:
            self._answer(failure=failure_to_message(failure_of(fault, retryable=True)))

    def cut(self, error: grpc.aio.AioRpcError) -> None:
        """The connection of a call that goes alone ends without an answer."""
        if self.alone is not None:
            self._end_alone(error)

    def _end_alone(self, error: grpc.aio.AioRpcError) -> None:
        self.over = True
        self.process.calls.pop(id(self), None)
        if self.alone is not None and not self.alone.done() and not self.alone.get_loop().is_closed():
            self.alone.set_exception(error)

    def _answer(self, *, output: payload_pb2.Payload | None = None, failure: failure_pb2.Failure | None = None) -> None:
        self.over = True
        self.process.calls.pop(id(self), None)
        call_id, attempt = self.invocation.call_id, self.invocation.attempt
        result = invocation_pb2.InvocationResult(call_id=call_id, attempt=attempt, output=output, failure=failure)
        if self.alone is not None:
            if not self.alone.done() and not self.alone.get_loop().is_closed():
                self.alone.set_result(plugin_service_pb2.InvokeResponse(result=result))
        elif self.session is not None:
            self.session.answer(result)


class HostSession:
    """The process's side of one Session."""

    def __init__(self, process: PluginProcess, stream: Stream) -> None:
        self.process = process
        self.stream = stream
        self.over = False
        self.newest = 0

    def receive(self, message: session_pb2.SessionRequest) -> None:
        if self.over or not self.process.alive:
            return
        if message.HasField("hello"):
            self._greet(message.hello)
        for invocation in message.invocations:
            self.newest = max(self.newest, invocation.call_id)
            self.process.take(HostCall(self.process, invocation, self, None))
        for cancel in message.cancels:
            for call in list(self.process.calls.values()):
                if call.session is self and call.invocation.call_id == cancel.call_id:
                    call.cancel()

    def _greet(self, hello: session_pb2.ClientHello) -> None:
        if hello.incarnation and hello.incarnation != self.process.incarnation:
            self.end(refused(WrongIncarnation(self.process.instance_id, hello.incarnation, self.process.incarnation)))
            return
        rogue = self.process.plugins.trouble and self.process.plugins.draw.random() < 0.05
        greeting = session_pb2.ServerHello(protocol=1, instance_id=self.process.instance_id)
        self.stream.say(session_pb2.SessionResponse(hello=greeting, credits=0 if rogue else CAPACITY))
        if rogue:
            self.answer_nonsense(self.newest + 1)
            self.process.plugins.calendar.after(0.2, lambda: self.say(credits=CAPACITY))

    def answer_nonsense(self, first: int) -> None:
        """Results of calls that were not sent."""
        made_up = payload_pb2.Payload(data=b'{"of": "nothing"}')
        numbers = range(first, first + 5)
        results = [invocation_pb2.InvocationResult(call_id=n, attempt=1, output=made_up) for n in numbers]
        self.say(results=results)

    def say(self, **facts: object) -> None:
        if not self.over and self.process.alive:
            self.stream.say(session_pb2.SessionResponse(**facts))  # type: ignore[arg-type]

    def answer(self, result: invocation_pb2.InvocationResult) -> None:
        draining = self.process.draining
        self.say(results=[result], credits=0 if draining else 1)
        chance = self.process.plugins.draw.random() if self.process.plugins.trouble else 1.0
        if chance < 0.02:
            self.say(results=[result])
        elif chance < 0.03:
            self.answer_nonsense(self.newest + 1000)

    def end(self, error: grpc.aio.AioRpcError | None) -> None:
        if not self.over:
            self.over = True
            self.stream.end(error)

    def lost(self) -> None:
        """The caller is gone, and its calls with it."""
        self.over = True
        for call in list(self.process.calls.values()):
            if call.session is self:
                call.cancel()


@dataclass(eq=False)
class PluginProcess:
    """One incarnation of an instance."""

    plugins: Plugins
    plugin_id: str
    instance_id: str
    incarnation: int
    version: str
    facts: dict[str, str]
    speaks_session: bool = True
    alive: bool = True
    draining: bool = False
    sessions: list[HostSession] = field(default_factory=list)
    channels: list[Channel] = field(default_factory=list)
    calls: dict[int, HostCall] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"{self.instance_id}:{self.incarnation}"

    def open_session(self, stream: Stream) -> HostSession:
        session = HostSession(self, stream)
        self.sessions.append(session)
        return session

    def invoked(
        self, invocation: invocation_pb2.Invocation, answer: Future[plugin_service_pb2.InvokeResponse]
    ) -> HostCall:
        call = HostCall(self, invocation, None, answer)
        self.take(call)
        return call

    def take(self, call: HostCall) -> None:
        """A call has come."""
        wanted = call.invocation.incarnation
        if wanted and wanted != self.incarnation:
            call.refuse(WrongIncarnation(self.instance_id, wanted, self.incarnation))
        elif self.draining:
            call.refuse(InstanceDraining(self.instance_id))
        elif len(self.calls) >= CAPACITY:
            call.refuse(InstanceFull(self.instance_id, len(self.calls)))
        else:
            self.calls[id(call)] = call
            self._suffer(call, self.plugins.fate(FATES))

    def _suffer(self, call: HostCall, fate: str) -> None:
        after, draw = self.plugins.calendar.after, self.plugins.draw
        if fate == "refused":
            self.calls.pop(id(call))
            call.refuse(InstanceDraining(self.instance_id))
            return
        if fate == "unseen":
            self.die()
            return
        if fate == "done and dead before the receipt":
            call.effect()
            self.die()
            return
        if call.session is not None:
            call.session.say(accepted=[call.invocation.call_id])
        takes = draw.choice((0.0, 0.002, 0.02, 0.2, 1.0))
        if fate == "late":
            takes = 12.0
        if fate == "dead after the receipt":
            after(takes, self.die)
            return
        happens = takes * draw.random()
        if fate not in ("broken", "away"):
            after(happens, call.effect)
        after(takes, lambda: self._end(call, fate))

    def _end(self, call: HostCall, fate: str) -> None:
        path = call.invocation.step_path
        if fate == "broken":
            call.fail(Failure(Code.INVALID_ARGUMENT, "BROKEN", "does not work", step_path=path))
        elif fate == "away":
            call.fail(Failure(Code.UNAVAILABLE, "AWAY", "away", retryable=True, step_path=path))
        elif fate == "done and dead after the receipt":
            self.die()
        elif fate == "done and a bare error" and call.alone is not None:
            call.cut(bare(grpc.StatusCode.INTERNAL, "something went wrong"))
        elif fate == "silent":
            self.calls.pop(id(call), None)
        else:
            call.succeed()
            if fate == "done and dead after the answer":
                self.die()

    def die(self) -> None:
        """As by kill -9."""
        if not self.alive:
            return
        self.alive = False
        for session in self.sessions:
            session.end(bare(grpc.StatusCode.UNAVAILABLE, CUT))
        for call in list(self.calls.values()):
            call.cut(bare(grpc.StatusCode.UNAVAILABLE, CUT))
        for channel in self.channels:
            self.plugins.calendar.after(self.plugins.delay(), channel.broke)
        self.calls.clear()
        self.plugins.died(self)

    def drain(self) -> None:
        """It takes nothing new and ends once it has answered."""
        self.draining = True
        for session in self.sessions:
            session.say(drain=session_pb2.Drain(reason="shutdown"))
        self.plugins.calendar.after(3.0, self.die)
