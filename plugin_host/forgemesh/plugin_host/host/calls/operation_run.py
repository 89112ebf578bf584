"""Running an operation: its input in, its outcome out; whatever the author's code raises becomes a failure."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from forgemesh.api.errors.v1 import failure_pb2
from forgemesh.api.plugin.v1 import invocation_pb2
from forgemesh.chassis.logs import adopt
from forgemesh.faults.plugin import InputInvalid, OutputInvalid, PluginException
from forgemesh.faults.workflow import Cancelled
from forgemesh.plugin import Context, OperationCancelled, OperationError, Payload
from forgemesh.plugin.payload import JSON
from forgemesh.plugin.violation import Misfit
from forgemesh.plugin_host.host.calls.call import Call
from forgemesh.plugin_host.host.calls.codec import Outcome, cut, declared_failure, failure_of, fitting
from forgemesh.plugin_host.host.plugin.authors_code import name_of, said_of
from forgemesh.plugin_host.host.plugin.forks import Origin
from forgemesh.plugin_host.host.plugin.own_logger import speaking_of
from forgemesh.plugin_host.scope import is_cancellation


class OperationRun:
    """
    Runs the operations of one plugin. Each call has a context of its own: task or thread, and contextvars.

    `out_of_memory` is told, in whatever thread, that an operation was refused memory.
    """

    def __init__(self, plugin_id: str, out_of_memory: Callable[[str], None]) -> None:
        self._plugin_id = plugin_id
        self._out_of_memory = out_of_memory
        self._authors_log = logging.getLogger(plugin_id)
        self._log = speaking_of(plugin_id)
        self._loop = asyncio.get_running_loop()
        self._origin = Origin()

    async def run(self, call: Call) -> Outcome:
        """Run an asynchronous operation; only a cancellation of the task itself comes out of it."""
        self._enter(call)
        try:
            value = await self._origin.awaited(call.operation.method(**self._arguments(call)))
        except BaseException as error:
            if is_cancellation(error):
                raise
            return self._failed(call, error)
        return self._output(call, value)

    def run_in_thread(self, call: Call) -> Outcome:
        """Run a synchronous operation in a thread of its own; nothing comes out of it."""
        self._enter(call)
        try:
            value = call.operation.method(**self._arguments(call))
        except BaseException as error:  # noqa: BLE001 - the author's code may raise anything
            self._origin.end_copy(error)
            return self._failed(call, error)
        self._origin.end_copy()
        return self._output(call, value)

    def _enter(self, call: Call) -> None:
        span, invocation = call.span, call.invocation
        span.enter()
        adopt(
            {
                "trace_id": span.trace_id.hex(),
                "span_id": span.span_id.hex(),
                "execution_id": invocation.execution_id,
                "step_path": invocation.step_path,
            }
        )

    def _arguments(self, call: Call) -> dict[str, Any]:
        definition = call.operation.definition
        try:
            arguments = definition.input.read(call.invocation.input)
        except ValueError as error:
            raise _Refused(InputInvalid(self._plugin_id, definition.name, cut(str(error)))) from error
        if definition.context is not None:
            context = call.context = arguments[definition.context] = self._context(call)
            if call.ending is not None:  # looked at after call.context is set: this may be a thread
                context.cancel()
        return arguments

    def _context(self, call: Call) -> Context:
        invocation = call.invocation
        return Context(
            execution_id=invocation.execution_id,
            step_path=invocation.step_path,
            attempt=invocation.attempt,
            idempotency_key=invocation.idempotency_key,
            namespace=invocation.namespace,
            expires=call.arrived / 1e9 + call.seconds,
            traceparent=call.span.traceparent,
            logger=self._authors_log,
            report=partial(self._progressed, call),
            heartbeat_details=_details(invocation),
        )

    def _progressed(self, call: Call, fraction: float, note: str, details: Payload | None) -> None:
        if call.operation.definition.asynchronous:
            call.receiver.progressed(call, fraction, note, details)
        else:  # this is a thread
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
                self._loop.call_soon_threadsafe(call.receiver.progressed, call, fraction, note, details)

    def _output(self, call: Call, value: Any) -> Outcome:
        definition, step_path = call.operation.definition, call.invocation.step_path
        try:
            payload = definition.write(value)
        except MemoryError as error:
            return self._failed(call, error)
        except BaseException as error:  # noqa: BLE001 - it reads attributes of the author's classes
            said = str(error) if isinstance(error, Misfit) else said_of(error)
            fault = OutputInvalid(self._plugin_id, definition.name, cut(said))
            self._log.error("%s", fault.message, exc_info=error)
            return failure_of(fault, step_path, retryable=False)
        return fitting(payload, definition.name, step_path)

    def _failed(self, call: Call, error: BaseException) -> failure_pb2.Failure:
        """Never fails itself, whatever the author's exception is made of."""
        if isinstance(error, MemoryError):
            call.fatal = True
            self._out_of_memory(f"{self._plugin_id}/{call.operation.definition.name} was refused more")
        try:
            return self._failure(call, error)
        except BaseException:  # noqa: BLE001 - it calls and reads what the author wrote
            name, said = call.operation.definition.name, name_of(error)
            self._log.error("%s/%s raised %s, which cannot be reported as it is", self._plugin_id, name, said)
            fault = PluginException(self._plugin_id, name, cut(said))
            return failure_of(fault, call.invocation.step_path, retryable=True)

    def _failure(self, call: Call, error: BaseException) -> failure_pb2.Failure:
        name, step_path = call.operation.definition.name, call.invocation.step_path
        if isinstance(error, OperationError):
            return declared_failure(error, step_path)
        if isinstance(error, _Refused):
            return failure_of(error.fault, step_path, retryable=False)
        if isinstance(error, OperationCancelled):
            return failure_of(Cancelled(step_path), step_path, retryable=False)
        self._log.error("%s/%s raised %s", self._plugin_id, name, name_of(error), exc_info=error)
        call.span.record_exception(error)
        return failure_of(PluginException(self._plugin_id, name, cut(said_of(error))), step_path, retryable=True)


def _details(invocation: invocation_pb2.Invocation) -> Payload | None:
    if not invocation.HasField("heartbeat_details"):
        return None
    carried = invocation.heartbeat_details
    return Payload(carried.data, carried.media_type or JSON, dict(carried.metadata))


class _Refused(Exception):
    """The input was refused before the author's code ran."""

    def __init__(self, fault: InputInvalid) -> None:
        super().__init__(fault.message)
        self.fault = fault
