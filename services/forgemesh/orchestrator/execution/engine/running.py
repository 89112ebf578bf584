"""An open execution in memory."""

from __future__ import annotations

import asyncio
import logging
from asyncio import Future
from dataclasses import dataclass, field

from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.family import Kin, origin_of
from forgemesh.orchestrator.execution.fork_names import name_in_origin
from forgemesh.orchestrator.execution.ports.rows import Standing
from forgemesh.orchestrator.execution.ports.starts import Claim, NewExecution, Request
from forgemesh.orchestrator.execution.state import ExecutionState, StepState
from forgemesh.orchestrator.execution.trace.ports import Spans
from forgemesh.orchestrator.execution.trace.spans import ExecutionTrace
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.values.shard import Shard

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Said:
    """What a running attempt last said: how far it is (0 to 1), a note for people, what the next attempt is to know."""

    fraction: float
    note: str
    details: Payload | None = None


@dataclass(slots=True, eq=False)
class Running:
    """
    `left` is set once it has `ended` or was dropped; `written` is its newest write until that is durable;
    `standing` is what the store's row of it says, or will once that is written.
    """

    key: int
    shard: Shard
    state: ExecutionState
    trace: ExecutionTrace
    left: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False
    timer: asyncio.TimerHandle | None = None
    timer_at: int = 0
    written: Future[int] | None = None
    standing: Standing = field(init=False)
    said: dict[str, Said] = field(default_factory=dict)
    run: tuple[str, str, str] = field(init=False)
    """Namespace, execution id, and the run id that the first event names."""
    name: tuple[str, str] = field(init=False)
    """Namespace and id."""
    kin: Kin = field(init=False)
    parent_run: str = field(init=False)
    """The run that started it, also where an older release did not write that into its history."""
    heir: bool = False
    """It was imported, and the run that its history began as is not here: that one's children are its own."""
    orphaned: str = ""
    """What becomes of it, if its parent has ended or stopped and it may not have been told."""
    acted: int = 0
    """How many effects of the write that was acted upon last were performed."""
    cut: list[StepState] = field(default_factory=list)
    """Steps whose attempts were open when it was terminated."""
    _change: asyncio.Event | None = None

    def __post_init__(self) -> None:
        self.name = self.state.namespace, self.state.execution_id
        if self.state.started is not None:
            self.begun()

    def begun(self) -> None:
        """The first facts are folded: what follows from them is worked out."""
        state = self.state
        assert state.started is not None
        self.run = (state.namespace, state.execution_id, state.started.run_id)
        self.standing = standing_of(state)
        self.kin = Kin(state.run_id)
        self.parent_run = origin_of(state).parent_run

    @property
    def open(self) -> bool:
        """Whether facts may still come. Its end may not be durable yet: until then it is among those that run."""
        return self.state.ended is None

    def change(self) -> asyncio.Event:
        """Is set when something of it becomes durable from now on, or when it has left."""
        if self._change is None:
            self._change = asyncio.Event()
        return self._change

    def tell_watchers(self) -> None:
        """Something became durable, or it has left."""
        if self._change is not None:
            self._change.set()
            self._change = None

    def show(self, event: e.Event, spans: Spans, position: int) -> None:
        """A fault in what only people look at is reported, and keeps no execution from going on."""
        try:
            finished = self.trace.project(event)
            if finished:
                spans.export(self.trace, finished, position)
        except Exception:  # noqa: BLE001 - whatever it is
            _log.exception("the spans of event %d of execution %s are lost", event.sequence, self.name[1])

    async def durable(self) -> None:
        """Return once everything that its state says now is durable; raises what the store raised if it is not."""
        if self.written is not None:
            await asyncio.shield(self.written)


def standing_of(state: ExecutionState) -> Standing:
    """What the store's row says of an execution in this state."""
    return Standing(state.status, state.ended_at, len(state.incidents))


def new_execution(running: Running, request: Request, claims: tuple[Claim, ...] = ()) -> NewExecution:
    """What the store is to write of an execution that begins."""
    state = running.state
    started = state.started
    assert started is not None
    origin = started.origin or e.Origin()
    return NewExecution(
        shard=running.shard,
        namespace=state.namespace,
        execution_id=state.execution_id,
        workflow=started.workflow,
        workflow_version=started.workflow_version,
        started_at=state.started_at,
        trace_id=started.trace_id.hex(),
        standing=running.standing,
        priority=started.priority,
        concurrency_key=started.concurrency_key,
        parent_id=origin.parent_id,
        schedule_id=origin.schedule_id,
        request=request,
        run_id=state.run_id,
        parent_run=origin.parent_run,
        schedule_incarnation=origin.schedule_incarnation,
        claims=claims,
    )


def claims_of(state: ExecutionState) -> tuple[Claim, ...]:
    """What a fork takes from its origin for good."""
    origin = state.started.origin if state.started is not None else None
    if not state.effects or origin is None:
        return ()
    return tuple(Claim(origin.forked_run, name_in_origin(effect.path)) for effect in state.effects.values())
