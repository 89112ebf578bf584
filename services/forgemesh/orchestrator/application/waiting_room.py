"""Where orders wait until an instance may take them, and in which order they are called."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import islice

from forgemesh.orchestrator.application.deadlines import Alarm, Deadlines
from forgemesh.orchestrator.application.errand import Errand
from forgemesh.orchestrator.application.order import (
    Crowded,
    HeldBack,
    Lacking,
    Leaving,
    Listener,
    OrderKey,
    Waiting,
    Wanted,
)
from forgemesh.orchestrator.application.route import Route
from forgemesh.orchestrator.domain.fair_queue import FairQueue
from forgemesh.routing.pick import Lack, NoPick
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
class Lane:
    """
    The orders that wait for the same, for all of which `lack` is why, since `lacked_at` (Unix nanoseconds).

    `noticed`: that is on record. `wake` rings when the lack may be over by itself. `ahead`: so many of those on record
    as blocked are told together that they may leave, the more have left since somebody could not.
    """

    route: Route
    queue: FairQueue[OrderKey, Errand]
    lack: Lacking | None = None
    lacked_at: int = 0
    noticed: bool = False
    alarm: Alarm | None = None
    wake: Alarm | None = None
    ahead: int = 1


@dataclass(slots=True, eq=False)
class WaitingRoom:
    """
    Lets orders go as soon as something that they wait for changes, never by polling. Those that wait for the same
    instances go by the rules of domain/fair_queue.py, whatever version they want; if there is no room in this process
    either, the same rules decide between the instances.

    `depart` sends an order or says why it cannot go; `lift` puts on record that one is not blocked any more; `refuse`
    ends one that would wait for what does not come by itself; `crowded` says why nobody can go; `urgent` is told when
    somebody begins to wait for a circuit, or for an instance where there is none. `clock` gives Unix nanoseconds,
    `monotonic` the seconds by which permits and circuits go.
    """

    depart: Callable[[Errand], Lacking | None]
    lift: Callable[[Errand], None]
    refuse: Callable[[Errand, Lacking], None]
    crowded: Callable[[], Crowded | None]
    urgent: Callable[[], None]
    listener: Listener
    deadlines: Deadlines
    clock: Callable[[], int]
    monotonic: Callable[[], float]
    closed: bool = False
    _lanes: dict[Lane, None] = field(default_factory=dict)
    """Those in which somebody waits."""
    _stirred: dict[Lane, None] = field(default_factory=dict)
    """Those in which somebody may be able to go."""
    _called: bool = False

    def enter(self, errand: Errand, lack: Lacking | None) -> None:
        """Wait; `lack` is None for an order that has to queue behind others."""
        lane, order = errand.lane, errand.order
        flow = order.run[:2]
        lane.queue.push(order.key, errand, flow=flow, priority=order.priority, now=errand.since / 1e9)
        if lack is not None:
            self._lanes[lane] = None
            if isinstance(lack, Leaving):
                lane.lack, lane.lacked_at = lane.lack or lack, self.clock()
                return
            if isinstance(lack, Crowded):
                self._stirred[lane] = None
            lane.noticed = False
            self._lacking(lane, lack)
            if not lack.passes:
                self._stir([lane])
        elif lane.noticed and lane.lack is not None:
            self._put_on_record(errand, lane.lack)

    def leave(self, errand: Errand) -> None:
        """Wait no more, without being served."""
        lane = errand.lane
        lane.queue.remove(errand.order.key)
        if not lane.queue:
            self._empty(lane)
        elif errand.lifts:  # it was about to leave, and those behind it waited for that
            self._stir([lane])

    def changed(self, concerns: Callable[[Route], bool]) -> None:
        """Something has changed for the routes that it concerns."""
        if self._lanes:
            self._stir([lane for lane in self._lanes if concerns(lane.route)])

    def demands(self) -> dict[Demanded, int]:
        """
        How many count that wait for an instance, by plugin and versions; one that several could serve counts with each.

        Of more kinds than may be told versions are left out, and then plugins.
        """
        found: dict[Demanded, int] = {}
        for lane in self._lanes:
            if not isinstance(lane.lack, Crowded):
                waiting = counting(len(lane.queue), lane.lack.reason) if lane.lack else len(lane.queue)
                for one in lane.route.demanded:
                    found[one] = found.get(one, 0) + waiting
        return found if len(found) <= MOST_DEMANDS else _fewer(found)

    def released(self, errand: Errand) -> None:
        """It is on record that the errand is not blocked any more."""
        self._stir([errand.lane])

    def more_room(self) -> None:
        """This process has room for one more call."""
        if self._stirred:
            self._call()

    @property
    def wanted(self) -> set[Wanted]:
        """What orders wait for that nobody serves."""
        return {lane.route.wanted for lane in self._lanes if lane.lack and lane.lack.reason is Lack.NOT_REGISTERED}

    def waiting(self, errand: Errand) -> Waiting:
        """How it stands with a waiting order."""
        lane = errand.lane
        lack = lane.lack
        assert lack is not None
        wait = lack.retry_after
        if isinstance(lack, NoPick) and wait is not None:
            passed = (self.clock() - lane.lacked_at) / 1e9
            lack = replace(lack, retry_after=max(0.0, wait - passed))
        return Waiting(
            lack=lack,
            since=errand.since,
            until=lane.lacked_at + round(wait * 1e9) if wait is not None else 0,
            position=lane.queue.position(errand.order.key),
        )

    def _stir(self, lanes: Iterable[Lane]) -> None:
        self._stirred.update(dict.fromkeys(lanes))
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
            self._stirred.update({lane: None for lane in stirred if lane.queue})
            self.deadlines.set(CALLED_AGAIN, WaitingRoom._call, self)

    def _let_go(self) -> None:
        """One order after the other, as long as somebody may be able to go."""
        moving = {lane: None for lane in self._stirred if lane.queue}
        self._stirred.clear()
        leaving = self._make_trials(moving)
        moving = {lane: None for lane in moving if lane.queue and lane not in leaving}
        crowded = self.crowded()
        while moving and crowded is None:
            lane = min(moving, key=_rank) if len(moving) > 1 else next(iter(moving))
            errand = lane.queue.first()
            blocked = bool(errand.blocked)
            lack = self.depart(errand)
            if errand.order.key not in lane.queue:
                self._moved(lane)  # a bug has ended it
            elif lack is None:
                lane.queue.pop(self.clock() / 1e9)
                self._moved(lane)
            elif isinstance(lack, Leaving):
                self._lift(lane, blocked)
            elif lack.passes:
                self._lacking(lane, lack)
            else:
                self.refuse(errand, lack)
            if (lack is not None and lack.passes) or not lane.queue:
                del moving[lane]
            crowded = self.crowded()
        for lane in moving:
            assert crowded is not None
            self._lacking(lane, crowded)
        self._stirred.update(moving)

    def _lift(self, lane: Lane, fresh: bool) -> None:
        """If the first one is about to leave since now, those behind it shall not have to wait for that one by one."""
        if not fresh:
            return
        for errand in list(islice(lane.queue, lane.ahead)):
            if errand.blocked and not errand.lifts:
                self.lift(errand)
        lane.ahead = min(2 * lane.ahead, AHEAD)

    def _make_trials(self, lanes: Iterable[Lane]) -> set[Lane]:
        """
        Trial calls go first, with those that are safest to repeat among all that wait, whoever's turn it is.

        Returns the lanes in which one is about to leave: what it leaves by is not for others.
        """
        now = self.monotonic()
        hopeful = [lane for lane in lanes if lane.route.may_try(now)]
        leaving: set[Lane] = set()
        vain = 0
        for errand in sorted((errand for lane in hopeful for errand in lane.queue), key=_risk):
            lane = errand.lane
            if vain == VAIN or self.crowded() is not None:
                break
            if lane in leaving or not lane.route.may_try(now):
                continue
            lack = self.depart(errand)
            if lack is None:
                lane.queue.remove(errand.order.key)
                self._moved(lane)
            elif isinstance(lack, Leaving):
                leaving.add(lane)
            else:
                vain += 1
        return leaving

    def _moved(self, lane: Lane) -> None:
        lane.noticed = False
        self._call_off(lane)
        if not lane.queue:
            self._empty(lane)

    def _empty(self, lane: Lane) -> None:
        self._call_off(lane)
        self._set_wake(lane, None)
        self._lanes.pop(lane, None)
        self._stirred.pop(lane, None)
        lane.lack = None

    def _lacking(self, lane: Lane, lack: Lacking) -> None:
        """Put on record why the lane does not move, if that is news: fullness only when it lasts."""
        news = lane.lack is None or lack.reason is not lane.lack.reason or not (lane.noticed or lane.alarm)
        lane.lack, lane.lacked_at, lane.ahead = lack, self.clock(), 1
        self._set_wake(lane, lack.retry_after)
        if not news:
            if lane.noticed:  # the first one may have been about to leave
                self._put_on_record(lane.queue.first(), lack)
            return
        self._call_off(lane)
        if lack.reason in (Lack.CIRCUIT_OPEN, Lack.NOT_REGISTERED):
            self.urgent()
        if _passing(lane, lack):
            lane.noticed = False
            lane.alarm = self.deadlines.set(FULL_NOTICE, self._notice, lane)
        else:
            self._notice(lane)

    def _set_wake(self, lane: Lane, seconds: float | None) -> None:
        if lane.wake is not None:
            self.deadlines.call_off(lane.wake)
        lane.wake = None if seconds is None else self.deadlines.set(max(seconds, LEAST_WAIT), self._due, lane)

    def _due(self, lane: Lane) -> None:
        lane.wake = None
        self._stir([lane])

    def _notice(self, lane: Lane) -> None:
        lane.alarm = None
        lane.noticed = True
        assert lane.lack is not None
        for errand in list(lane.queue):
            self._put_on_record(errand, lane.lack)

    def _put_on_record(self, errand: Errand, lack: Lacking) -> None:
        if errand.blocked != lack.reason.value:
            errand.blocked = lack.reason.value
            self.listener.blocked(errand.order, lack)

    def _call_off(self, lane: Lane) -> None:
        if lane.alarm is not None:
            self.deadlines.call_off(lane.alarm)
            lane.alarm = None


def _passing(lane: Lane, lack: Lacking) -> bool:
    return isinstance(lack, Crowded | HeldBack) or lack.reason is Lack.ALL_FULL or not lane.route.settled


def _fewer(demands: dict[Demanded, int]) -> dict[Demanded, int]:
    found: dict[Demanded, int] = {}
    for one, count in demands.items():
        any_version = Demanded(one.plugin_id, "")
        if any_version in found or len(found) < MOST_DEMANDS:
            found[any_version] = found.get(any_version, 0) + count
    return found


def _risk(errand: Errand) -> int:
    """What a second run of the call might do."""
    return _RISKS[errand.order.idempotent]


_RISKS = {True: 0, None: 1, False: 2}


def _rank(lane: Lane) -> tuple[float, int, int]:
    return lane.queue.rank()
