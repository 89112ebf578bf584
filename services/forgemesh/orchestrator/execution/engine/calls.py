"""The open attempts of calls: from durable events to orders, and from answers back to facts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from forgemesh.chassis.subscribers import Subscribers
from forgemesh.orchestrator.dispatch.call_request import (
    CallKey,
    CallRequest,
    Listener,
    RunKey,
    Underway,
    Waiting,
    WaitReason,
    Wanted,
)
from forgemesh.orchestrator.dispatch.dispatch import Dispatch
from forgemesh.orchestrator.dispatch.dispatcher import Dispatcher
from forgemesh.orchestrator.dispatch.doubt import Doubt
from forgemesh.orchestrator.dispatch.ports import Answer
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.attempts import (
    doubts_of,
    failed,
    succeeded,
    terms_of,
)
from forgemesh.orchestrator.execution.control import unsent
from forgemesh.orchestrator.execution.ending import open_below
from forgemesh.orchestrator.execution.engine.open_executions import OpenExecutions
from forgemesh.orchestrator.execution.engine.results import Results
from forgemesh.orchestrator.execution.engine.running import Running, Said
from forgemesh.orchestrator.execution.engine.time_and_chance import TimeAndChance
from forgemesh.orchestrator.execution.engine.turns import Turns
from forgemesh.orchestrator.execution.explain import Blocker
from forgemesh.orchestrator.execution.state import ExecutionState, StepState
from forgemesh.orchestrator.execution.trace.spans import traceparent
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.values.retry import LONGEST_WISH, SECOND, UNCOUNTED
from forgemesh.orchestrator.workflow.definition import Call, Child
from forgemesh.routing.pick import NoPick, NoPickReason


class Calls:
    """What the engine wants of plugins; is told by the dispatcher what becomes of it."""

    def __init__(
        self,
        turns: Turns,
        executions: OpenExecutions,
        results: Results,
        time_and_chance: TimeAndChance,
        dispatcher: Callable[[Listener], Dispatcher],
    ) -> None:
        self._turns = turns
        self._executions = executions
        self._results = results
        self._now = time_and_chance.now
        self._draw = time_and_chance.draw
        self.on_wanted: Subscribers[[]] = Subscribers("calls for which there is no provider")
        self._looking: dict[CallKey, int] = {}
        """Attempts of which it is not known yet whether their result is kept."""
        self._dispatcher = dispatcher(self)

    @property
    def in_flight(self) -> int:
        """How many calls are with instances."""
        return self._dispatcher.in_flight

    def queues(self) -> list[tuple[str, int, int]]:
        """Of each target for which calls wait: its name, how many, and since when (Unix nanoseconds) the first one."""
        return self._dispatcher.queues()

    @property
    def wanted(self) -> set[Wanted]:
        """What calls wait for that nobody serves."""
        return self._dispatcher.wanted

    async def stop(self, grace: float) -> None:
        """Begin nothing more; return once calls under way have ended, or after `grace` seconds."""
        await self._dispatcher.stop(grace)

    def start(self, running: Running, step: StepState) -> None:
        """An open attempt is on record and may leave; or its result is there already."""
        request, started = _request(running, step), step.started
        cache_key = started.cache_key if started is not None else ""
        if not cache_key:
            self._dispatcher.send(request)
            return
        self._looking[request.key] = request.attempt
        self._results.look_up(cache_key, request.target, partial(self._looked_up, running, request))

    def _looked_up(self, running: Running, request: CallRequest, kept: tuple[Dispatch, Answer] | None) -> None:
        self._looking.pop(request.key, None)
        try:
            self._take_result(running, request, kept)
        except Exception as error:  # noqa: BLE001 - ends nothing but this execution's turn
            self._turns.broke(running, error)

    def _take_result(self, running: Running, request: CallRequest, kept: tuple[Dispatch, Answer] | None) -> None:
        """It was neither called nor waiting meanwhile, so that nobody could take it back."""
        if not self._executions.has(running) or not _is_open(running.state, request):
            return
        if is_held(running.state, running.state.open_attempts[request.path]):
            self.turn_back(running, request.path)
        elif kept is None:
            self._dispatcher.send(request)
        else:
            self.answered(request, kept[1], kept[0])

    def take_up(self, running: Running, step: StepState) -> None:
        """An attempt that was open when the execution was left is known not to have been sent: it goes on as it was."""
        self._dispatcher.send(_request(running, step))

    def released(self, running: Running, path: str, attempt: int) -> None:
        """It is on record that an attempt is not blocked any more: its call may leave."""
        self._dispatcher.released(_key(running, path), attempt)

    def unsent(self, running: Running) -> dict[str, int]:
        """Attempts by step path that wait here and have not been sent."""
        return {request.path: request.attempt for request in self._dispatcher.active.unsent(running.run)}

    def drives(self, running: Running, step: StepState) -> bool:
        """Whether the open attempt waits, is under way, or is looked up: only then something becomes of it."""
        key = _key(running, step.path)
        return self._looking.get(key) == step.attempts or self._dispatcher.active.carries(key, step.attempts)

    def stray(self) -> list[RunKey]:
        """What has orders although it is not in memory."""
        return [run for run in self._dispatcher.active.runs() if self._executions.of_run(run) is None]

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
        for request in self._dispatcher.active.unsent(running.run):
            self._dispatcher.forget(request.key)
            self.turn_back(running, request.path)

    def turn_back(self, running: Running, path: str) -> None:
        """An attempt has not left and does not leave any more."""
        fact = unsent(running.state, path, self._now())
        if fact is not None:
            self._turns.turn(running, (fact,))

    def forget(self, running: Running, path: str) -> None:
        """The attempt's end was decided without it."""
        self._dispatcher.forget(_key(running, path))

    def forget_all(self, running: Running) -> None:
        """The execution has ended, or what memory knows of it is void."""
        self._dispatcher.forget_all(running.run)

    def explain(self, running: Running) -> dict[str, Blocker]:
        """What the dispatcher knows of the execution's open calls, by step path."""
        found: dict[str, Blocker] = {}
        for path in running.state.open_attempts:
            known = self._dispatcher.explain(_key(running, path))
            if isinstance(known, Waiting):
                found[path] = _waits(path, known)
            elif known is not None:
                found[path] = _runs(path, known)
        return found

    def answered(self, request: CallRequest, answer: Answer, where: Dispatch | None) -> None:
        """See call_request.Listener."""
        running = self._executions.of_run(request.run)
        if running is None:
            return
        try:
            self._answered(running, request, answer, where)
        except Exception as error:  # noqa: BLE001 - ends nothing but this execution's turn
            self._turns.broke(running, error)

    def _answered(self, running: Running, request: CallRequest, answer: Answer, where: Dispatch | None) -> None:
        path = request.path
        said = running.said.pop(path, None)
        if answer.failure is None and answer.output is not None:
            fact = succeeded(running.state, path, request.attempt, answer.output, where)
            self._keep(running.state, request, answer, where)
        else:
            assert answer.failure is not None
            now, draw = self._now(), self._draw()
            details = said.details if said is not None else None
            failure, told = answer.failure, answer.told
            fact = failed(
                running.state, path, request.attempt, failure, where, now, draw, details, told=told, said=request.said
            )
        if fact is not None:
            self._turns.turn(running, (fact,))

    def broke(self, request: CallRequest, error: Exception, *, sent: bool) -> None:
        """See call_request.Listener."""
        running = self._executions.of_run(request.run)
        if running is not None:
            self._turns.broke(running, error, {} if sent else {request.path: request.attempt})

    def _turn(self, running: Running, fact: e.Fact) -> None:
        try:
            self._turns.turn(running, (fact,))
        except Exception as error:  # noqa: BLE001 - ends nothing but this execution's turn
            self._turns.broke(running, error)

    def _keep(self, state: ExecutionState, request: CallRequest, answer: Answer, where: Dispatch | None) -> None:
        step = state.steps.get(request.path)
        if step is None or step.started is None or not step.started.cache_key or where is None or where.cached:
            return
        if isinstance(step.step, Call) and step.step.cache is not None and answer.output is not None:
            ends = self._now() + int(step.step.cache.ttl * SECOND)
            plugin_id = where.plugin_id or request.target.plugin_id
            self._results.keep(step.started.cache_key, plugin_id, where, answer.output, ends)

    def blocked(self, request: CallRequest, why: WaitReason) -> None:
        """See call_request.Listener."""
        running = self._executions.of_run(request.run)
        if running is not None and _is_open(running.state, request):
            wait = min(why.retry_after or 0.0, LONGEST_WISH)
            until = self._now() + int(wait * SECOND) if wait else 0
            fact = e.StepBlocked(request.path, request.attempt, why.reason.value, why.message, until, _opened_by(why))
            self._turn(running, fact)
        if why.reason is NoPickReason.NOT_REGISTERED:
            self.on_wanted.tell()

    def unblocked(self, request: CallRequest) -> None:
        """See call_request.Listener."""
        running = self._executions.of_run(request.run)
        if running is not None and _is_open(running.state, request):
            self._turn(running, e.StepUnblocked(request.path, request.attempt))

    def progressed(self, request: CallRequest, fraction: float, note: str, details: Payload | None) -> None:
        """See call_request.Listener."""
        running = self._executions.of_run(request.run)
        if running is not None:
            before = running.said.get(request.path)
            if details is None and before is not None:
                details = before.details
            running.said[request.path] = Said(fraction, note, details)


def is_held(state: ExecutionState, step: StepState) -> bool:
    """Whether something that was decided since keeps an attempt from leaving that has not left yet."""
    return step.compensates is None and (state.pause is not None or state.queued or state.is_stopping(step.scope))


def _key(running: Running, path: str) -> CallKey:
    return running.run, path


def _request(running: Running, step: StepState) -> CallRequest:
    """For the newest attempt of a step."""
    state, fact = running.state, step.started
    started = state.started
    assert isinstance(step.step, Call)
    assert step.input is not None
    assert fact is not None
    assert started is not None
    path, attempt, terms = fact.path, fact.attempt, terms_of(state, step)
    return CallRequest(
        key=(running.run, path),
        attempt=attempt,
        target=terms.target,
        timeouts=terms.timeouts,
        input=step.input,
        traceparent=traceparent(started, state.execution_id, path, attempt),
        deadline=0 if step.compensates is not None else state.deadline,
        close_at=step.close_at,
        tried=frozenset(step.tried) if step.tried else _NONE,
        priority=started.priority + step.step.priority,
        affinity=fact.affinity,
        details=step.details,
        idempotent=terms.idempotent,
        retry=step.failure is not None and step.failure.reason not in UNCOUNTED,
        since=step.attempted_at,
        blocked=step.blocked.reason if step.blocked is not None else "",
        vouched=terms.vouched,
        timed=terms.timed,
        doubts=doubts_of(state, step) if step.doubts else _NOWHERE,
    )


_NONE: frozenset[str] = frozenset()
_NOWHERE: frozenset[Doubt] = frozenset()


def _opened_by(why: WaitReason) -> str:
    """The traceparent of the call that opened the circuit for which an order waits, if one did."""
    tripped = why.tripped if isinstance(why, NoPick) else None
    return tripped.circuit.traceparent if tripped is not None else ""


def _is_open(state: ExecutionState, request: CallRequest) -> bool:
    step = state.open_attempts.get(request.path)
    return step is not None and step.attempts == request.attempt


def _waits(path: str, waiting: Waiting) -> Blocker:
    place = f"; {waiting.position} go before it" if waiting.position else ""
    return Blocker(
        step_path=path,
        reason=waiting.why.reason.value,
        message=f"{waiting.why.message}{place}",
        since=waiting.since,
        until=waiting.until,
    )


def _runs(path: str, underway: Underway) -> Blocker:
    where = underway.dispatch.instance_id
    doing = "is told to stop" if underway.cancelling else "works on it"
    said = f", {underway.fraction:.0%} done" if underway.heard_at else ""
    note = f": {underway.note}" if underway.note else ""
    return Blocker(
        step_path=path,
        reason="RUNNING",
        message=f"instance {where!r} {doing}{said}{note}",
        since=underway.since,
        instance_id=where,
    )
