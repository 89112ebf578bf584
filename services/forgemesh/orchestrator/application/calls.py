"""The open attempts of calls: from durable events to orders, and from answers back to facts."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from forgemesh.orchestrator.application.call_account import CallAccount
from forgemesh.orchestrator.application.dispatcher import Dispatcher
from forgemesh.orchestrator.application.order import (
    Lacking,
    Order,
    OrderKey,
    RunKey,
    Running as Underway,
    Waiting,
    Wanted,
)
from forgemesh.orchestrator.application.providers import Providers
from forgemesh.orchestrator.application.results import Results
from forgemesh.orchestrator.application.running import Running, Said
from forgemesh.orchestrator.domain import events as e
from forgemesh.orchestrator.domain.attempts import (
    doubts_of,
    failed,
    is_idempotent,
    is_timed,
    is_vouched,
    succeeded,
    target_of,
    timeouts_of,
)
from forgemesh.orchestrator.domain.control import unsent
from forgemesh.orchestrator.domain.definition import Call, Child
from forgemesh.orchestrator.domain.ending import open_below
from forgemesh.orchestrator.domain.explain import Hindrance
from forgemesh.orchestrator.domain.payload import Payload
from forgemesh.orchestrator.domain.retry import LONGEST_WISH, SECOND, UNCOUNTED
from forgemesh.orchestrator.domain.state import ExecutionState, StepState
from forgemesh.orchestrator.domain.trace import traceparent
from forgemesh.orchestrator.ports import Answer, Hosts
from forgemesh.routing.pick import Lack, NoPick

if TYPE_CHECKING:
    from forgemesh.orchestrator.application.engine import Engine


class Calls:
    """What the engine wants of plugins; is told by the dispatcher what becomes of it."""

    def __init__(
        self,
        engine: Engine,
        hosts: Hosts,
        account: CallAccount,
        providers: Providers,
        results: Results,
        *,
        max_in_flight: int = 0,
    ) -> None:
        self._engine = engine
        self._results = results
        self._looking: dict[OrderKey, int] = {}
        """Attempts of which it is not known yet whether their result is kept."""
        self._dispatcher = Dispatcher(hosts, account, providers, engine.clock, self, max_in_flight=max_in_flight)

    @property
    def wanted(self) -> set[Wanted]:
        """What calls wait for that nobody serves."""
        return self._dispatcher.wanted

    async def stop(self, grace: float) -> None:
        """Begin nothing more; return once calls under way have ended, or after `grace` seconds."""
        await self._dispatcher.stop(grace)

    def start(self, running: Running, step: StepState) -> None:
        """An open attempt is on record and may leave; or its result is there already."""
        order, cache_key = _order(running, step), _begun(step).cache_key
        if not cache_key:
            self._dispatcher.send(order)
            return
        self._looking[order.key] = order.attempt
        self._results.look_up(cache_key, order.target, partial(self._looked_up, running, order))

    def _looked_up(self, running: Running, order: Order, kept: tuple[e.Dispatch, Answer] | None) -> None:
        self._looking.pop(order.key, None)
        try:
            self._take_result(running, order, kept)
        except Exception as error:  # noqa: BLE001 - ends nothing but this execution's turn
            self._engine.suspension.broke(running, error)

    def _take_result(self, running: Running, order: Order, kept: tuple[e.Dispatch, Answer] | None) -> None:
        """It was neither called nor waiting meanwhile, so that nobody could take it back."""
        if self._engine.running(*running.name) is not running or not _is_open(running.state, order):
            return
        if is_held(running.state, running.state.open_attempts[order.path]):
            self.turn_back(running, order.path)
        elif kept is None:
            self._dispatcher.send(order)
        else:
            order.dispatch = kept[0]
            self.answered(order, kept[1])

    def take_up(self, running: Running, step: StepState) -> None:
        """An attempt that was open when the execution was left is known not to have been sent: it goes on as it was."""
        self._dispatcher.send(_order(running, step))

    def released(self, running: Running, fact: e.StepUnblocked) -> None:
        """It is on record that an attempt is not blocked any more: its call may leave."""
        self._dispatcher.released(_key(running, fact.path), fact.attempt)

    def unsent(self, running: Running) -> dict[str, int]:
        """Attempts by step path that wait here and have not been sent."""
        return {order.path: order.attempt for order in self._dispatcher.active.unsent(running.run)}

    def drives(self, running: Running, step: StepState) -> bool:
        """Whether the open attempt waits, is under way, or is looked up: only then something becomes of it."""
        key = _key(running, step.path)
        return self._looking.get(key) == step.attempts or self._dispatcher.active.carries(key, step.attempts)

    def stray(self) -> list[RunKey]:
        """What has orders although it is not in memory."""
        return [run for run in self._dispatcher.active.runs() if self._of(run) is None]

    def forget_run(self, run: RunKey) -> None:
        """Nobody waits for what it has ordered."""
        self._dispatcher.forget_all(run)

    def take_back(self, running: Running, path: str) -> None:
        """Cancel the open calls at and below a group, or all of an execution; each of them still ends by itself."""
        for step in open_below(running.state, path):
            self._dispatcher.cancel(_key(running, step.path))

    def interrupt(self, running: Running) -> None:
        """Cancel every open call, because of a pause."""
        for step in list(running.state.open_attempts.values()):
            if not isinstance(step.step, Child):
                self._dispatcher.cancel(_key(running, step.path))

    def withhold(self, running: Running) -> None:
        """A pause has begun: what has not left yet does not leave any more."""
        for order in self._dispatcher.active.unsent(running.run):
            self._dispatcher.forget(order.key)
            self.turn_back(running, order.path)

    def turn_back(self, running: Running, path: str) -> None:
        """An attempt has not left and does not leave any more."""
        fact = unsent(running.state, path, self._engine.clock())
        if fact is not None:
            self._engine.turn(running, (fact,))

    def forget(self, running: Running, path: str) -> None:
        """The attempt's end was decided without it."""
        self._dispatcher.forget(_key(running, path))

    def forget_all(self, running: Running) -> None:
        """The execution has ended, or what memory knows of it is void."""
        self._dispatcher.forget_all(running.run)

    def explain(self, running: Running) -> dict[str, Hindrance]:
        """What the dispatcher knows of the execution's open calls, by step path."""
        found: dict[str, Hindrance] = {}
        for path in running.state.open_attempts:
            known = self._dispatcher.explain(_key(running, path))
            if isinstance(known, Waiting):
                found[path] = _waits(path, known)
            elif known is not None:
                found[path] = _runs(path, known)
        return found

    def answered(self, order: Order, answer: Answer) -> None:
        """See order.Listener."""
        running = self._of(order.run)
        if running is None:
            return
        try:
            self._answered(running, order, answer)
        except Exception as error:  # noqa: BLE001 - ends nothing but this execution's turn
            self._engine.suspension.broke(running, error)

    def _answered(self, running: Running, order: Order, answer: Answer) -> None:
        path = order.path
        said = running.said.pop(path, None)
        where = _where(order.dispatch, answer) if order.dispatch is not None and answer.sent else None
        if answer.failure is None and answer.output is not None:
            fact = succeeded(running.state, path, order.attempt, answer.output, where)
            self._keep(running.state, order, answer, where)
        else:
            assert answer.failure is not None
            now, draw = self._engine.clock(), self._engine.draw()
            details = said.details if said is not None else None
            failure, told = answer.failure, answer.told
            fact = failed(
                running.state, path, order.attempt, failure, where, now, draw, details, told=told, said=order.said
            )
        if fact is not None:
            self._engine.turn(running, (fact,))

    def _of(self, run: RunKey) -> Running | None:
        """The execution that gave an order, if it is open; never another one that has got its id."""
        running = self._engine.running(*run[:2])
        return running if running is not None and running.run == run else None

    def broke(self, order: Order, error: Exception, *, sent: bool) -> None:
        """See order.Listener."""
        running = self._of(order.run)
        if running is not None:
            self._engine.suspension.broke(running, error, {} if sent else {order.path: order.attempt})

    def _turn(self, running: Running, fact: e.Fact) -> None:
        try:
            self._engine.turn(running, (fact,))
        except Exception as error:  # noqa: BLE001 - ends nothing but this execution's turn
            self._engine.suspension.broke(running, error)

    def _keep(self, state: ExecutionState, order: Order, answer: Answer, where: e.Dispatch | None) -> None:
        step = state.steps.get(order.path)
        if step is None or step.started is None or not step.started.cache_key or where is None or where.cached:
            return
        if isinstance(step.step, Call) and step.step.cache is not None and answer.output is not None:
            ends = self._engine.clock() + int(step.step.cache.ttl * SECOND)
            plugin_id = where.plugin_id or order.target.plugin_id
            self._results.keep(step.started.cache_key, plugin_id, where, answer.output, ends)

    def blocked(self, order: Order, lack: Lacking) -> None:
        """See order.Listener."""
        running = self._of(order.run)
        if running is not None and _is_open(running.state, order):
            wait = min(lack.retry_after or 0.0, LONGEST_WISH)
            until = self._engine.clock() + int(wait * SECOND) if wait else 0
            fact = e.StepBlocked(order.path, order.attempt, lack.reason.value, lack.message, until, _opened_by(lack))
            self._turn(running, fact)
        if lack.reason is Lack.NOT_REGISTERED:
            self._engine.on_wanted()

    def unblocked(self, order: Order) -> None:
        """See order.Listener."""
        running = self._of(order.run)
        if running is not None and _is_open(running.state, order):
            self._turn(running, e.StepUnblocked(order.path, order.attempt))

    def progressed(self, order: Order, fraction: float, note: str, details: Payload | None) -> None:
        """See order.Listener."""
        running = self._of(order.run)
        if running is not None:
            before = running.said.get(order.path)
            if details is None and before is not None:
                details = before.details
            running.said[order.path] = Said(fraction, note, details)


def is_held(state: ExecutionState, step: StepState) -> bool:
    """Whether something that was decided since keeps an attempt from leaving that has not left yet."""
    return step.compensates is None and (state.pause is not None or state.queued or state.is_stopping(step.scope))


def _key(running: Running, path: str) -> OrderKey:
    return running.run, path


def _begun(step: StepState) -> e.AttemptStarted:
    assert step.started is not None
    return step.started


def _order(running: Running, step: StepState) -> Order:
    """For the newest attempt of a step."""
    state, fact = running.state, _begun(step)
    started = state.started
    assert isinstance(step.step, Call)
    assert step.input is not None
    assert started is not None
    compensating = step.compensates is not None
    return Order(
        key=_key(running, fact.path),
        attempt=fact.attempt,
        target=target_of(step),
        timeouts=timeouts_of(state, step),
        input=step.input,
        traceparent=traceparent(started, state.execution_id, fact.path, fact.attempt),
        deadline=0 if compensating else state.deadline,
        close_at=step.close_at,
        tried=frozenset(step.tried) if step.tried else _NONE,
        priority=started.priority + step.step.priority,
        affinity=fact.affinity,
        details=step.details,
        idempotent=is_idempotent(state, step, step.step),
        retry=step.failure is not None and step.failure.reason not in UNCOUNTED,
        since=step.attempted_at,
        blocked=step.blocked.reason if step.blocked is not None else "",
        vouched=is_vouched(step),
        timed=is_timed(step),
        doubts=doubts_of(step),
    )


_NONE: frozenset[str] = frozenset()


def _opened_by(lack: Lacking) -> str:
    """The traceparent of the call that opened the circuit for which an order waits, if one did."""
    tripped = lack.tripped if isinstance(lack, NoPick) else None
    return tripped.circuit.traceparent if tripped is not None else ""


def _is_open(state: ExecutionState, order: Order) -> bool:
    step = state.open_attempts.get(order.path)
    return step is not None and step.attempts == order.attempt


def _where(dispatch: e.Dispatch, answer: Answer) -> e.Dispatch:
    if answer.session and answer.accepted:
        return dispatch
    return msgspec.structs.replace(dispatch, session=answer.session, accepted=answer.accepted)


def _waits(path: str, waiting: Waiting) -> Hindrance:
    place = f"; {waiting.position} go before it" if waiting.position else ""
    return Hindrance(
        step_path=path,
        reason=waiting.lack.reason.value,
        message=f"{waiting.lack.message}{place}",
        since=waiting.since,
        until=waiting.until,
    )


def _runs(path: str, underway: Underway) -> Hindrance:
    where = underway.dispatch.instance_id
    doing = "is told to stop" if underway.cancelling else "works on it"
    said = f", {underway.fraction:.0%} done" if underway.heard_at else ""
    note = f": {underway.note}" if underway.note else ""
    return Hindrance(
        step_path=path,
        reason="RUNNING",
        message=f"instance {where!r} {doing}{said}{note}",
        since=underway.since,
        instance_id=where,
    )
