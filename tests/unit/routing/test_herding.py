"""
A simulation of many callers that share instances and know of one another only by snapshots.

Eight instances of four slots, one of them four times as slow, get 260 calls a second of 100 ms: nine tenths of what
they can do.
"""

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from statistics import median, quantiles

import pytest

from forgemesh.routing.eligibility import LocalView, RemoteLoad
from forgemesh.routing.pick import pick
from forgemesh.routing.policy import Policy
from forgemesh.routing.round_robin import Turns
from tests.unit.routing.endpoints import endpoint, picked, snapshot

INSTANCES = 8
SLOTS = 4
RATE = 260.0
SERVICE = 0.1
CALLS = 10_000
SEEDS = range(5)
AT = snapshot(*(endpoint(str(number)) for number in range(INSTANCES)), pick=Policy.LEAST_CONNECTIONS, load_memory=0.25)


def nothing() -> dict[str, int]:
    return {str(number): 0 for number in range(INSTANCES)}


@dataclass
class Caller:
    in_flight: dict[str, int] = field(default_factory=nothing)
    loads: dict[str, RemoteLoad] = field(default_factory=dict)
    cursor: Turns = field(default_factory=Turns)

    def __post_init__(self) -> None:
        self.view = LocalView(in_flight=self.in_flight, loads=self.loads)

    def choose(self, chance: random.Random, now: float) -> str:
        answer = picked(pick(AT, self.cursor, self.view, draw=chance.random, now=now))
        self.cursor = answer.cursor
        return answer.endpoint.instance_id


class Mesh:
    """With a `period` of seconds between snapshots; None: everybody knows all, and takes the better of any two."""

    def __init__(self, seed: int, callers: int, period: float | None) -> None:
        self.chance = random.Random(seed)
        self.period = period
        self.callers = [Caller() for _ in range(callers)]
        self.in_flight = nothing()
        self.busy = [0] * INSTANCES
        self.queues: list[deque[tuple[float, Caller]]] = [deque() for _ in range(INSTANCES)]
        self.ends: list[tuple[float, int, int, float, Caller]] = []
        self.ended = 0

    def run(self) -> Iterator[float]:
        """Latencies in the order in which calls end."""
        now, tell = 0.0, 0.0
        for _ in range(CALLS):
            now += self.chance.expovariate(RATE)
            yield from self.advance(now)
            if self.period is not None and now >= tell:
                tell = now + self.period
                self.tell(now)
            self.arrive(self.chance.choice(self.callers), now)

    def arrive(self, caller: Caller, now: float) -> None:
        if self.period is None:
            chosen = min(self.chance.sample(list(self.in_flight), 2), key=self.in_flight.__getitem__)
        else:
            chosen = caller.choose(self.chance, now)
        caller.in_flight[chosen] += 1
        self.in_flight[chosen] += 1
        instance = int(chosen)
        if self.busy[instance] < SLOTS:
            self.begin(instance, now, now, caller)
        else:
            self.queues[instance].append((now, caller))

    def begin(self, instance: int, came: float, now: float, caller: Caller) -> None:
        self.busy[instance] += 1
        took = SERVICE * self.chance.uniform(0.9, 1.1) * (4 if instance == 0 else 1)
        self.ended += 1
        heappush(self.ends, (now + took, self.ended, instance, came, caller))

    def advance(self, until: float) -> Iterator[float]:
        while self.ends and self.ends[0][0] <= until:
            now, _, instance, came, caller = heappop(self.ends)
            self.busy[instance] -= 1
            caller.in_flight[str(instance)] -= 1
            self.in_flight[str(instance)] -= 1
            if self.queues[instance]:
                next_came, next_caller = self.queues[instance].popleft()
                self.begin(instance, next_came, now, next_caller)
            yield now - came

    def tell(self, now: float) -> None:
        for caller in self.callers:
            for name, count in self.in_flight.items():
                caller.loads[name] = RemoteLoad(count - caller.in_flight[name], now)


def slowest_of_hundred(callers: int, period: float | None) -> float:
    """The 99th percentile of latencies (seconds), median over the seeds."""
    return median(quantiles(Mesh(seed, callers, period).run(), n=100)[98] for seed in SEEDS)


@pytest.mark.parametrize("callers", [4, 40])
def test_callers_that_share_snapshots_do_nearly_as_well_as_if_they_knew_all(callers: int) -> None:
    truth = slowest_of_hundred(callers, None)
    shared = slowest_of_hundred(callers, 0.1)

    assert shared <= 1.35 * truth, f"{SEEDS}: {shared} to {truth}"
