"""Health statuses and the threads that serve them, so that they are told while the event loop is blocked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from forgemesh.chassis.callers import Callers
from forgemesh.chassis.health_facts import Facts

WATCHES = 16
"""How many Watch calls are served at a time; each takes a thread of the server."""

_Response = health_pb2.HealthCheckResponse


class HealthBoard:
    """
    Serves grpc.health.v1 from the threads of a synchronous server.

    grpc_health's own servicer for such servers sends while it holds its lock: a Watch that ends while a status is set
    stops both for ever. This one sends without a lock. A watcher may miss a status that lasted for a moment only,
    never the last one. Each answer carries what `facts` says at that moment.
    """

    def __init__(self, facts: Callable[[], Facts] = tuple) -> None:
        self._facts = facts
        self._statuses: dict[str, int] = {}
        self._changed = threading.Condition()
        self._watches = 0
        self.callers = Callers()
        self._final = False

    def set(self, name: str, status: int) -> None:
        """Make `status` known; it blocks nobody."""
        with self._changed:
            if not self._final:
                self._statuses[name] = status
                self._changed.notify_all()

    def close(self) -> None:
        """All names turn NOT_SERVING for good."""
        with self._changed:
            self._final = True
            self._statuses = dict.fromkeys(self._statuses, _Response.NOT_SERVING)
            self._changed.notify_all()

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - named by the proto
        """The status of one name."""
        with self.callers.calling(context.peer()):
            status = self._statuses.get(request.service)
            if status is None:
                context.abort(grpc.StatusCode.NOT_FOUND, f"no health is known under {request.service!r}")
            context.send_initial_metadata(self._facts())
            return _Response(status=status)

    def List(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The statuses of all names."""
        statuses = {name: _Response(status=status) for name, status in dict(self._statuses).items()}
        return health_pb2.HealthListResponse(statuses=statuses)

    def Watch(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        """The status of one name, now and whenever it changes."""
        with self._changed:
            full = self._watches >= WATCHES
            self._watches += not full
        if full:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{WATCHES} watches are served; use Check")
        context.send_initial_metadata(self._facts())
        try:
            with self.callers.calling(context.peer()):
                yield from self._changes(request.service, context)
        finally:
            with self._changed:
                self._watches -= 1

    def _changes(self, name: str, context: Any) -> Iterator[Any]:
        ended = threading.Event()

        def end() -> None:
            ended.set()
            with self._changed:
                self._changed.notify_all()

        if not context.add_callback(end):
            return
        sent: int | None = None
        while True:
            with self._changed:
                while not ended.is_set() and self._status_of(name) == sent:
                    self._changed.wait()
                sent = self._status_of(name)
            if ended.is_set():
                return
            yield _Response(status=sent)

    def _status_of(self, name: str) -> int:
        return self._statuses.get(name, int(_Response.SERVICE_UNKNOWN))
