"""The places under concurrency keys, worked out anew from what is durable."""

from __future__ import annotations

from tests.component.orchestrator.simulated_mesh.execution_model import ExecutionModel
from tests.component.orchestrator.simulated_mesh.laws import demand


class Rooms:
    """Executions that share a key, in the order in which they came."""

    def __init__(self) -> None:
        self._rooms: dict[tuple[str, str, str], list[ExecutionModel]] = {}
        self._newcomers: list[ExecutionModel] = []

    def came(self, account: ExecutionModel, *, queued: bool, known: int) -> None:
        """A new one, or an import; `known` is the position up to which all was known to be durable then."""
        if account.definition.concurrency is None:
            return
        room = self._of(account)
        waits_for = any(not one.over or one.ended_at > known for one in room)
        demand(waits_for or not queued or bool(account.brought), "who waits, waits for somebody", account.name)
        room.append(account)
        account.queued, account.holds = queued, not queued
        self._newcomers.append(account)

    def moved(self, account: ExecutionModel, *, admitted: bool) -> None:
        """It has its place, or, as an import, has found none."""
        demand(account.queued or not admitted, "admitted once", account.name)
        account.queued, account.holds = not admitted, admitted
        self._newcomers.append(account)

    def cancelled(self, account: ExecutionModel) -> None:
        """By its key: somebody else wants the place who began later; an import began where it comes from."""
        room = self._of(account)
        newer = [one.name for one in room if one.began_at >= account.began_at and one is not account]
        demand(bool(newer), "a key cancels none but its own", account.name)

    def check(self) -> None:
        """After a transaction: one that is refused begins and ends in the same."""
        for account in self._newcomers:
            if account.holds and not account.over:
                self._check_order(account, self._of(account))
                self._check_places(self._of(account))
        self._newcomers.clear()

    def _of(self, account: ExecutionModel) -> list[ExecutionModel]:
        """Those that share its key, by the key's own value, type and all."""
        rule = account.definition.concurrency
        assert rule is not None
        given = account.started.input.value()
        field = "n" if "'n'" in repr(rule.key) else "k"
        value = given.get(field) if isinstance(given, dict) else None
        name = (account.namespace, account.started.workflow, f"{type(value).__name__} {value}")
        return self._rooms.setdefault(name, [])

    def _check_order(self, account: ExecutionModel, room: list[ExecutionModel]) -> None:
        """
        Whoever came earlier goes first, unless there is room for all; of those that came in one moment, any. Who is
        stopping waits for no place.
        """
        ahead = [one for one in room if _waits(one) and one.came_at < account.came_at]
        holders = [one for one in room if one.holds and not one.over and one is not account]
        fits = len(holders) + len(ahead) < _limit_of(account)
        demand(not ahead or fits, "the queue is kept", account.name, "passes", [one.name for one in ahead])

    def _check_places(self, room: list[ExecutionModel]) -> None:
        """Nobody holds more places than there are."""
        holders = [account for account in room if account.holds and not account.over]
        most = max((_limit_of(account) for account in holders), default=1)
        demand(len(holders) <= most, "no more holders than places", [account.name for account in holders])


def _limit_of(account: ExecutionModel) -> int:
    return account.definition.concurrency.limit if account.definition.concurrency is not None else 1


def _waits(account: ExecutionModel) -> bool:
    return account.queued and not account.over and "" not in account.stopped_at
