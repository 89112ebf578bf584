"""The calls that are not over, by the execution that asked for them."""

from __future__ import annotations

from forgemesh.orchestrator.dispatch.call_request import CallKey, CallRequest, RunKey
from forgemesh.orchestrator.dispatch.in_flight_call import InFlightCall

_NONE: dict[CallKey, InFlightCall] = {}


class ActiveCalls:
    """One for each key at most."""

    def __init__(self) -> None:
        self._by_run: dict[RunKey, dict[CallKey, InFlightCall]] = {}

    def add(self, inflight: InFlightCall) -> None:
        """It begins."""
        key = inflight.request.key
        self._by_run.setdefault(key[0], {})[key] = inflight

    def remove(self, inflight: InFlightCall) -> None:
        """It is over."""
        key = inflight.request.key
        of_one = self._by_run[key[0]]
        del of_one[key]
        if not of_one:
            del self._by_run[key[0]]

    def find(self, key: CallKey) -> InFlightCall | None:
        """None if it is over, or never was."""
        return self._by_run.get(key[0], _NONE).get(key)

    def all(self) -> list[InFlightCall]:
        """Of every execution."""
        return [inflight for of_one in self._by_run.values() for inflight in of_one.values()]

    def of(self, run: RunKey) -> list[InFlightCall]:
        """Of one execution, in the order in which they came."""
        return list(self._by_run.get(run, _NONE).values())

    def unsent(self, run: RunKey) -> list[CallRequest]:
        """Those of an execution that still wait, in the order in which they came."""
        return [inflight.request for inflight in self.of(run) if inflight.call is None]

    def runs(self) -> list[RunKey]:
        """The executions that have any."""
        return list(self._by_run)

    def carries(self, key: CallKey, attempt: int) -> bool:
        """Whether the attempt is with an instance, or waits where somebody is called."""
        inflight = self.find(key)
        if inflight is None or inflight.request.attempt != attempt:
            return False
        return inflight.call is not None or key in inflight.target_queue.queue
