"""
Where calls wait until an instance may take them, and in which order they leave.

Each target has a queue (target_queue.py), in which flows take turns by priority (fair_queue.py). Nothing polls: who
knows that something has changed says for which routes (`changed`, `more_room`, `released`), and those queues are
`stirred`. Once per turn of the loop `_serve` goes through the stirred ones: first trial calls, with whoever is safest
to repeat, then the first call of whichever queue is due, until each has a reason why its first one cannot go.

That reason holds for all who wait in the queue. It goes on record (wait_record.py) at once if it may last, and if it is
only fullness after FULL_NOTICE. A call on record as blocked leaves in two steps: it is told that it is not any more,
and sent when that is durable; those behind it are told together, so that a queue does not leave one write at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import islice

from forgemesh.orchestrator.dispatch.call_request import (
    Crowded,
    HeldBack,
    Leaving,
    Waiting,
    WaitReason,
    Wanted,
)
from forgemesh.orchestrator.dispatch.call_sender import CallSender
from forgemesh.orchestrator.dispatch.deadlines import Deadlines
from forgemesh.orchestrator.dispatch.in_flight_call import InFlightCall
from forgemesh.orchestrator.dispatch.outcome_recorder import OutcomeRecorder
from forgemesh.orchestrator.dispatch.router import Route
from forgemesh.orchestrator.dispatch.target_queue import TargetQueue
from forgemesh.orchestrator.dispatch.wait_record import WaitRecord
from forgemesh.routing.pick import NoPick, NoPickReason
from forgemesh.routing.scaling import Demanded, counting

_log = logging.getLogger(__name__)

CALLED_AGAIN = 1.0
"""Seconds after which those are called again whom a bug has kept from being called."""
FULL_NOTICE = 0.5
"""Seconds without progress after which fullness is put on record: queues that move are ordinary."""
LEAST_WAIT = 0.05
"""Seconds between looks at what should be over by now."""
VAIN = 16
"""So many that wait are asked in vain, one after the other, whether a permit suits them."""
MOST_DEMANDS = 2000
"""So many kinds of instances that are waited for are told at a time."""
AHEAD = 64
"""So many of those on record as blocked are told together at most that they may leave."""


@dataclass(slots=True, eq=False)
class PendingQueue:
    """
    Lets calls go as soon as something that they wait for changes, never by polling. Those that wait for the same
    instances go by the rules of fair_queue.py, whatever version they want; if there is no room in this process
    either, the same rules decide between the instances.

    `clock` gives Unix nanoseconds.
    """

    sender: CallSender
    waits: WaitRecord
    recorder: OutcomeRecorder
    deadlines: Deadlines
    clock: Callable[[], int]
    closed: bool = False
    _target_queues: dict[TargetQueue[InFlightCall], None] = field(default_factory=dict)
    """Those in which somebody waits."""
    _stirred: dict[TargetQueue[InFlightCall], None] = field(default_factory=dict)
    """Those in which somebody may be able to go."""
    _called: bool = False

    def enter(self, inflight: InFlightCall, why: WaitReason | None) -> None:
        """Wait; `why` is None for a call that has to queue behind others."""
        target_queue, request = inflight.target_queue, inflight.request
        flow = request.run[:2]
        target_queue.queue.push(request.key, inflight, flow=flow, priority=request.priority, now=inflight.since / 1e9)
        if why is not None:
            self._target_queues[target_queue] = None
            if isinstance(why, Leaving):
                target_queue.why, target_queue.since = target_queue.why or why, self.clock()
                return
            if isinstance(why, Crowded):
                self._stirred[target_queue] = None
            target_queue.noticed = False
            self._blocked_by(target_queue, why)
            if not why.passes:
                self._stir([target_queue])
        elif target_queue.noticed and target_queue.why is not None:
            self.waits.blocked(inflight, target_queue.why)

    def leave(self, inflight: InFlightCall) -> None:
        """Wait no more, without being served."""
        target_queue = inflight.target_queue
        target_queue.queue.remove(inflight.request.key)
        if not target_queue.queue:
            self._empty(target_queue)
        elif inflight.lifts:  # it was about to leave, and those behind it waited for that
            self._stir([target_queue])

    def changed(self, concerns: Callable[[Route], bool]) -> None:
        """Something has changed for the routes that it concerns."""
        if self._target_queues:
            self._stir([target_queue for target_queue in self._target_queues if concerns(target_queue.route)])

    def demands(self) -> dict[Demanded, int]:
        """
        How many count that wait for an instance, by plugin and versions; one that several could serve counts with each.

        Of more kinds than may be told versions are left out, and then plugins.
        """
        found: dict[Demanded, int] = {}
        for target_queue in self._target_queues:
            if not isinstance(target_queue.why, Crowded):
                waiting = (
                    counting(len(target_queue.queue), target_queue.why.reason)
                    if target_queue.why
                    else len(target_queue.queue)
                )
                for one in target_queue.route.demanded:
                    found[one] = found.get(one, 0) + waiting
        return found if len(found) <= MOST_DEMANDS else _fewer(found)

    def queues(self) -> list[tuple[str, int, int]]:
        """Of each target for which calls wait: its plugin or interface, how many, and since when the first of them."""
        found = []
        for target_queue in self._target_queues:
            first = next(iter(target_queue.queue))
            found.append((first.request.target.name, len(target_queue.queue), first.since))
        return found

    def released(self, inflight: InFlightCall) -> None:
        """It is on record that the call is not blocked any more."""
        self._stir([inflight.target_queue])

    def more_room(self) -> None:
        """This process has room for one more call."""
        if self._stirred:
            self._call()

    @property
    def wanted(self) -> set[Wanted]:
        """What calls wait for that nobody serves."""
        return {
            target_queue.route.wanted
            for target_queue in self._target_queues
            if target_queue.why and target_queue.why.reason is NoPickReason.NOT_REGISTERED
        }

    def waiting(self, inflight: InFlightCall) -> Waiting:
        """How it stands with a waiting call."""
        target_queue = inflight.target_queue
        why = target_queue.why
        assert why is not None
        wait = why.retry_after
        if isinstance(why, NoPick) and wait is not None:
            passed = (self.clock() - target_queue.since) / 1e9
            why = replace(why, retry_after=max(0.0, wait - passed))
        return Waiting(
            why=why,
            since=inflight.since,
            until=target_queue.since + round(wait * 1e9) if wait is not None else 0,
            position=target_queue.queue.position(inflight.request.key),
        )

    def _stir(self, target_queues: Iterable[TargetQueue[InFlightCall]]) -> None:
        self._stirred.update(dict.fromkeys(target_queues))
        if self._stirred:
            self._call()

    def _call(self) -> None:
        if not self._called:
            self._called = True
            asyncio.get_running_loop().call_soon(self._serve)

    def _serve(self) -> None:
        """A bug leaves nobody waiting for ever: all are called again."""
        self._called = False
        stirred = dict(self._stirred)
        try:
            if not self.closed:
                self._let_go()
        except Exception:  # noqa: BLE001 - whatever it is
            _log.exception("calls that wait were not looked after, which is tried again; this is a bug")
            self._stirred.update({target_queue: None for target_queue in stirred if target_queue.queue})
            self.deadlines.set(CALLED_AGAIN, PendingQueue._call, self)

    def _let_go(self) -> None:
        """One call after the other, as long as somebody may be able to go."""
        moving = {target_queue: None for target_queue in self._stirred if target_queue.queue}
        self._stirred.clear()
        leaving = self._make_trials(moving)
        moving = {target_queue: None for target_queue in moving if target_queue.queue and target_queue not in leaving}
        crowded = self.sender.crowded()
        while moving and crowded is None:
            target_queue = min(moving, key=_rank) if len(moving) > 1 else next(iter(moving))
            inflight = target_queue.queue.first()
            blocked = bool(inflight.blocked)
            why = self.sender.send(inflight)
            if inflight.request.key not in target_queue.queue:
                self._moved(target_queue)  # a bug has ended it
            elif why is None:
                target_queue.queue.pop(self.clock() / 1e9)
                self._moved(target_queue)
            elif isinstance(why, Leaving):
                self._lift(target_queue, blocked)
            elif why.passes:
                self._blocked_by(target_queue, why)
            else:
                inflight.owner.refused(inflight, why)
            if (why is not None and why.passes) or not target_queue.queue:
                del moving[target_queue]
            crowded = self.sender.crowded()
        for target_queue in moving:
            assert crowded is not None
            self._blocked_by(target_queue, crowded)
        self._stirred.update(moving)

    def _lift(self, target_queue: TargetQueue[InFlightCall], fresh: bool) -> None:
        """If the first one is about to leave since now, those behind it shall not have to wait for that one by one."""
        if not fresh:
            return
        for inflight in list(islice(target_queue.queue, target_queue.ahead)):
            if inflight.blocked and not inflight.lifts:
                self.waits.unblocked(inflight)
        target_queue.ahead = min(2 * target_queue.ahead, AHEAD)

    def _make_trials(self, target_queues: Iterable[TargetQueue[InFlightCall]]) -> set[TargetQueue[InFlightCall]]:
        """
        Trial calls go first, with those that are safest to repeat among all that wait, whoever's turn it is.

        Returns the queues in which one is about to leave: what it leaves by is not for others.
        """
        now = self.recorder.clock()
        hopeful = [target_queue for target_queue in target_queues if target_queue.route.may_try(now)]
        leaving: set[TargetQueue[InFlightCall]] = set()
        vain = 0
        for inflight in sorted((inflight for target_queue in hopeful for inflight in target_queue.queue), key=_risk):
            target_queue = inflight.target_queue
            if vain == VAIN or self.sender.crowded() is not None:
                break
            if target_queue in leaving or not target_queue.route.may_try(now):
                continue
            why = self.sender.send(inflight)
            if why is None:
                target_queue.queue.remove(inflight.request.key)
                self._moved(target_queue)
            elif isinstance(why, Leaving):
                leaving.add(target_queue)
            else:
                vain += 1
        return leaving

    def _moved(self, target_queue: TargetQueue[InFlightCall]) -> None:
        target_queue.noticed = False
        self._call_off(target_queue)
        if not target_queue.queue:
            self._empty(target_queue)

    def _empty(self, target_queue: TargetQueue[InFlightCall]) -> None:
        self._call_off(target_queue)
        self._set_wake(target_queue, None)
        self._target_queues.pop(target_queue, None)
        self._stirred.pop(target_queue, None)
        target_queue.why = None

    def _blocked_by(self, target_queue: TargetQueue[InFlightCall], why: WaitReason) -> None:
        """Put on record why the queue does not move, if that is news: fullness only when it lasts."""
        news = (
            target_queue.why is None
            or why.reason is not target_queue.why.reason
            or not (target_queue.noticed or target_queue.alarm)
        )
        target_queue.why, target_queue.since, target_queue.ahead = why, self.clock(), 1
        self._set_wake(target_queue, why.retry_after)
        if not news:
            if target_queue.noticed:  # the first one may have been about to leave
                self.waits.blocked(target_queue.queue.first(), why)
            return
        self._call_off(target_queue)
        if why.reason in (NoPickReason.CIRCUIT_OPEN, NoPickReason.NOT_REGISTERED):
            self.recorder.hurry()
        if _passing(target_queue, why):
            target_queue.noticed = False
            target_queue.alarm = self.deadlines.set(FULL_NOTICE, self._notice, target_queue)
        else:
            self._notice(target_queue)

    def _set_wake(self, target_queue: TargetQueue[InFlightCall], seconds: float | None) -> None:
        if target_queue.wake is not None:
            self.deadlines.call_off(target_queue.wake)
        target_queue.wake = (
            None if seconds is None else self.deadlines.set(max(seconds, LEAST_WAIT), self._due, target_queue)
        )

    def _due(self, target_queue: TargetQueue[InFlightCall]) -> None:
        target_queue.wake = None
        self._stir([target_queue])

    def _notice(self, target_queue: TargetQueue[InFlightCall]) -> None:
        target_queue.alarm = None
        target_queue.noticed = True
        assert target_queue.why is not None
        for inflight in list(target_queue.queue):
            self.waits.blocked(inflight, target_queue.why)

    def _call_off(self, target_queue: TargetQueue[InFlightCall]) -> None:
        if target_queue.alarm is not None:
            self.deadlines.call_off(target_queue.alarm)
            target_queue.alarm = None


def _passing(target_queue: TargetQueue[InFlightCall], why: WaitReason) -> bool:
    return isinstance(why, Crowded | HeldBack) or why.reason is NoPickReason.ALL_FULL or not target_queue.route.settled


def _fewer(demands: dict[Demanded, int]) -> dict[Demanded, int]:
    found: dict[Demanded, int] = {}
    for one, count in demands.items():
        any_version = Demanded(one.plugin_id, "")
        if any_version in found or len(found) < MOST_DEMANDS:
            found[any_version] = found.get(any_version, 0) + count
    return found


def _risk(inflight: InFlightCall) -> int:
    """What a second run of the call might do."""
    return _RISKS[inflight.request.idempotent]


_RISKS = {True: 0, None: 1, False: 2}


def _rank(target_queue: TargetQueue[InFlightCall]) -> tuple[float, int, int]:
    return target_queue.queue.rank()
