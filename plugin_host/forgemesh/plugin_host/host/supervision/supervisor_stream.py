"""The stream to the supervisor, opened again when it breaks."""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import grpc

from forgemesh.api.supervisor.v1 import attach_pb2 as pb
from forgemesh.api.supervisor.v1.supervisor_service_pb2_grpc import SupervisorServiceStub
from forgemesh.chassis.backoff import drawn_pause
from forgemesh.chassis.channel import connect_blocking
from forgemesh.chassis.status import from_rpc_error
from forgemesh.chassis.threads import start_thread
from forgemesh.faults import Code, Fault, code_of

_log = logging.getLogger(__name__)

WELCOME_DEADLINE = 10.0
FIRST_BACKOFF = 0.1
LONGEST_BACKOFF = 1.0
LONGEST_OUTBOX = 64
_FINAL = frozenset((Code.PERMISSION_DENIED, Code.FAILED_PRECONDITION, Code.UNIMPLEMENTED, Code.INVALID_ARGUMENT))
"""A supervisor that answers so does not want this process, and asking again changes nothing."""

Outbox: TypeAlias = "queue.SimpleQueue[pb.AttachRequest | None]"


class SupervisorStream:
    """
    Says `hello()` to the supervisor at `where()`, then what `say` is given; tells `heard` each of its messages.

    Works in threads of its own, so that it goes on while the event loop is blocked; both callbacks come from there.
    A line that breaks is opened again for `patience` seconds, at first for WELCOME_DEADLINE; then, or once the
    supervisor refuses, `lost` is told why, and the line is over.
    """

    def __init__(
        self,
        where: Callable[[], str],
        hello: Callable[[], pb.AttachHello],
        heard: Callable[[pb.AttachResponse], None],
        lost: Callable[[str, Fault | None], None],
        *,
        patience: float = math.inf,
        on_break: Callable[[], None] = lambda: None,
    ) -> None:
        self._where = where
        self._hello = hello
        self._heard = heard
        self._lost = lost
        self._patience = patience
        self._on_break = on_break
        self._closed = threading.Event()
        self._outbox: Outbox | None = None
        self._call: Any = None
        self._welcomed = False
        self._heard_at = 0.0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Open the line; returns at once."""
        self._heard_at = time.monotonic()
        self._thread = start_thread("supervisor-line", self._keep)

    def say(self, request: pb.AttachRequest) -> None:
        """Send it soon; what is said while the line is broken, or by far too much, is lost."""
        outbox = self._outbox
        if outbox is not None and outbox.qsize() < LONGEST_OUTBOX:
            outbox.put(request)

    def close(self, timeout: float) -> None:
        """End the line once the supervisor has heard what was said, or after `timeout` seconds; blocks until then."""
        self._closed.set()
        outbox = self._outbox
        if outbox is not None:
            outbox.put(None)
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(timeout)
        call = self._call
        if call is not None:
            call.cancel()

    def _keep(self) -> None:
        failures = 0
        while not self._closed.is_set():
            fault: Fault | None = None
            before = self._heard_at
            try:
                self._converse()
                reason = "it ended the stream"
            except grpc.RpcError as error:
                fault = from_rpc_error(error)
                reason = fault.message
            if self._closed.is_set():
                return
            failures = 1 if self._heard_at > before else failures + 1
            self._on_break()
            if self._is_over(fault):
                self._lost(reason, fault)
                return
            log = _log.warning if failures == 1 else _log.debug
            log("the line to the supervisor broke (%s), opening it again", reason)
            self._closed.wait(drawn_pause(failures, first=FIRST_BACKOFF, most=LONGEST_BACKOFF))

    def _is_over(self, fault: Fault | None) -> bool:
        if fault is not None and code_of(fault) in _FINAL:
            return True
        return time.monotonic() - self._heard_at > (self._patience if self._welcomed else WELCOME_DEADLINE)

    def _converse(self) -> None:
        """Returns when the supervisor ends the stream; raises RpcError when it breaks."""
        outbox: Outbox = queue.SimpleQueue()
        outbox.put(pb.AttachRequest(hello=self._hello()))
        with connect_blocking(self._where()) as channel:
            stub: Any = SupervisorServiceStub(channel)
            call = self._call = stub.Attach(_until_none(outbox))
            impatience = threading.Timer(WELCOME_DEADLINE, call.cancel)
            impatience.daemon = True
            impatience.start()
            self._outbox = outbox
            welcomed = False
            try:
                for response in call:
                    impatience.cancel()
                    welcomed = self._welcomed = True
                    self._heard(response)
            finally:
                if welcomed:
                    self._heard_at = time.monotonic()
                self._outbox = None
                impatience.cancel()
                outbox.put(None)  # the thread that sends ends with the stream


def _until_none(outbox: Outbox) -> Iterator[pb.AttachRequest]:
    while (request := outbox.get()) is not None:
        yield request
