"""A mesh in which everybody writes what a terminal would obey: every text of every answer of every service."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor import FieldDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_status import rpc_status

import forgemesh.api
from forgemesh.api.orchestrator.v1.event_pb2 import ExecutionEvent
from forgemesh.api.orchestrator.v1.execution_pb2 import ExecutionStatus, StepStatus
from forgemesh.api.supervisor.v1.host_pb2 import HostState
from forgemesh.chassis.status import to_status
from forgemesh.faults import Code, ForeignFault, Violation

SIGN = "HOSTILE"
FORGED = "forged line"
EVIL = f"{SIGN}\x1b[2J\x1b]0;title\x07\x1b[31m\x9b6n\x9d0;title\x9c\x7f\u202e\u2066\u200b\ufeff\x85\u2028\r\n{FORGED}"
"""CSI and OSC of C0 and of C1, a colour that is also ours, DEL, bidi, no width, and every end of a line."""

_SERVICES = ("registry", "balancer", "supervisor", "traces", "orchestrator", "schedules")
_DEEPEST = 7
_SECONDS = 1_700_000_000


def refusal(*, violations: bool) -> ForeignFault:
    """A refusal that is hostile in all its parts."""
    found = (Violation(EVIL, EVIL),) if violations else ()
    code, message = Code.FAILED_PRECONDITION, f"{EVIL}; {EVIL}; {EVIL}"
    return ForeignFault(code, EVIL, message, {"cause": EVIL}, violations=found)


@dataclass(frozen=True, slots=True)
class Mood:
    """How things stand in what the mesh answers; with `refuses` it answers nothing but where its services are."""

    execution: ExecutionStatus.ValueType = ExecutionStatus.EXECUTION_STATUS_SUCCEEDED
    step: StepStatus.ValueType = StepStatus.STEP_STATUS_WAITING
    refuses: bool = False


@contextmanager
def hostile_mesh(mood: Mood) -> Iterator[str]:
    """The address at which every service of the mesh answers so."""
    with ThreadPoolExecutor(8) as threads:
        server = grpc.server(threads)
        port = server.add_insecure_port("127.0.0.1:0")
        answers = _Answers(mood, f"127.0.0.1:{port}")
        for service in _services():
            handlers = {method.name: answers.handler(method) for method in service.methods}
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))
        server.start()
        try:
            yield answers.address
        finally:
            server.stop(None).wait()


def _services() -> Iterator[ServiceDescriptor]:
    for folder in map(Path, forgemesh.api.__path__):
        for file in folder.rglob("*_service_pb2.py"):
            name = ".".join(("forgemesh.api", *file.relative_to(folder).with_suffix("").parts))
            yield from importlib.import_module(name).DESCRIPTOR.services_by_name.values()


@dataclass(frozen=True, slots=True)
class _Answers:
    mood: Mood
    address: str

    def handler(self, method: Any) -> Any:
        """One that gives the method's answer, whatever it is asked."""
        answer = GetMessageClass(method.output_type)
        coding: dict[str, Any] = {
            "request_deserializer": GetMessageClass(method.input_type).FromString,
            "response_serializer": answer.SerializeToString,
        }
        if method.server_streaming:
            many = (
                grpc.stream_stream_rpc_method_handler
                if method.client_streaming
                else (grpc.unary_stream_rpc_method_handler)
            )
            return many(lambda request, context: self._several(answer, method.name, context), **coding)
        one = grpc.stream_unary_rpc_method_handler if method.client_streaming else grpc.unary_unary_rpc_method_handler
        return one(lambda request, context: self._one(answer, method.name, request, context), **coding)

    def _one(self, answer: type[Message], name: str, request: Any, context: Any) -> Any:
        if not isinstance(request, Message):
            list(request)
        message: Any = answer()
        if name == "GetMesh":
            for service in _SERVICES:
                message.services.add(name=service, address=self.address)
            return message
        self._refuse(context, violations=name in ("RegisterDefinition", "ValidateDefinition", "CreateSchedule"))
        self._fill(message)
        return message

    def _several(self, answer: type[Message], name: str, context: Any) -> Iterator[Message]:
        self._refuse(context, violations=False)
        if name == "WatchExecution":
            yield self._history(answer())
            return
        message = answer()
        self._fill(message)
        yield message

    def _refuse(self, context: Any, *, violations: bool) -> None:
        if self.mood.refuses:
            context.abort_with_status(rpc_status.to_status(to_status(refusal(violations=violations))))

    def _history(self, answer: Any) -> Any:
        """One event of each kind, as if all of that could happen to one execution."""
        kinds = ExecutionEvent.DESCRIPTOR.oneofs_by_name["kind"].fields
        for sequence, kind in enumerate(kinds, start=1):
            event = answer.events.add()
            self._fill(event, without=frozenset(one.name for one in kinds if one is not kind))
            event.sequence = sequence
        return answer

    def _fill(self, message: Any, depth: int = 0, without: frozenset[str] = frozenset()) -> None:
        """Every field, down to where messages hold themselves; of a oneof the last one."""
        for field in message.DESCRIPTOR.fields:
            nested = field.message_type is not None
            if field.name in without or (nested and depth > _DEEPEST):
                continue
            value = getattr(message, field.name)
            if not nested:
                told = self._plain(field)
                value.append(told) if field.is_repeated else setattr(message, field.name, told)
            elif field.message_type.GetOptions().map_entry:
                self._fill_map(field, value, depth)
            elif field.message_type.full_name.startswith("google.protobuf."):
                (value.add() if field.is_repeated else value).seconds = (
                    _SECONDS if "Time" in field.message_type.name else 5
                )
            else:
                one = value.add() if field.is_repeated else value
                one.SetInParent()
                self._fill(one, depth + 1)

    def _fill_map(self, field: Any, value: Any, depth: int) -> None:
        key, kept = field.message_type.fields_by_name["key"], field.message_type.fields_by_name["value"]
        named = self._plain(key)
        if kept.message_type is None:
            value[named] = self._plain(kept)
        else:
            self._fill(value[named], depth + 1)

    def _plain(self, field: Any) -> Any:
        told: dict[str, Any] = {
            "address": self.address,
            "next_page_token": "",
            "media_type": "",
            "left_out": False,
        }
        if field.name in told:
            return told[field.name]
        return self._by_type()[field.type](field) if field.type in self._by_type() else 1

    def _by_type(self) -> dict[int, Callable[[Any], Any]]:
        return {
            FieldDescriptor.TYPE_STRING: lambda field: EVIL,
            FieldDescriptor.TYPE_BYTES: lambda field: json.dumps({EVIL: EVIL}).encode(),
            FieldDescriptor.TYPE_BOOL: lambda field: True,
            FieldDescriptor.TYPE_ENUM: self._standing,
        }

    def _standing(self, field: Any) -> Any:
        chosen = {
            ExecutionStatus.DESCRIPTOR.full_name: self.mood.execution,
            StepStatus.DESCRIPTOR.full_name: self.mood.step,
            HostState.DESCRIPTOR.full_name: HostState.HOST_STATE_CRASH_LOOP,
        }
        kind = field.enum_type
        return chosen.get(kind.full_name, kind.values[min(1, len(kind.values) - 1)].number)
