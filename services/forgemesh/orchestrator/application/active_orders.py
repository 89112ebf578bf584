"""The orders that are not over, by the execution that gave them."""

from __future__ import annotations

from forgemesh.orchestrator.application.errand import Errand
from forgemesh.orchestrator.application.order import Order, OrderKey, RunKey

_NONE: dict[OrderKey, Errand] = {}


class ActiveOrders:
    """One for each key at most."""

    def __init__(self) -> None:
        self._by_run: dict[RunKey, dict[OrderKey, Errand]] = {}

    def add(self, errand: Errand) -> None:
        """It begins."""
        key = errand.order.key
        self._by_run.setdefault(key[0], {})[key] = errand

    def remove(self, errand: Errand) -> None:
        """It is over."""
        key = errand.order.key
        of_one = self._by_run[key[0]]
        del of_one[key]
        if not of_one:
            del self._by_run[key[0]]

    def find(self, key: OrderKey) -> Errand | None:
        """None if it is over, or never was."""
        return self._by_run.get(key[0], _NONE).get(key)

    def all(self) -> list[Errand]:
        """Of every execution."""
        return [errand for of_one in self._by_run.values() for errand in of_one.values()]

    def of(self, run: RunKey) -> list[Errand]:
        """Of one execution, in the order in which they came."""
        return list(self._by_run.get(run, _NONE).values())

    def unsent(self, run: RunKey) -> list[Order]:
        """Those of an execution that still wait, in the order in which they came."""
        return [errand.order for errand in self.of(run) if errand.link is None]

    def runs(self) -> list[RunKey]:
        """The executions that have any."""
        return list(self._by_run)

    def carries(self, key: OrderKey, attempt: int) -> bool:
        """Whether the attempt is with an instance, or waits where somebody is called."""
        errand = self.find(key)
        if errand is None or errand.order.attempt != attempt:
            return False
        return errand.link is not None or key in errand.lane.queue
