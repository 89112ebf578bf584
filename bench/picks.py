"""
What it costs to find an instance: one pick in this process, by each policy, and what the feed does for it.

Printed is the median over so many picks, with calls in flight on all instances and two of them full; then what
`bench.feed` prints.

Usage: python -m bench.picks [--endpoints 20] [--picks 20000] [--seed 7]
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from dataclasses import replace

import uvloop

from bench import feed
from forgemesh.routing.eligibility import LocalView, RemoteLoad
from forgemesh.routing.endpoint import Endpoint, Health
from forgemesh.routing.pick import Picked, pick
from forgemesh.routing.policy import DEFAULT, Policy
from forgemesh.routing.round_robin import Turns
from forgemesh.routing.snapshot import Revision, Snapshot

CAP = 64
BY_LOAD = (Policy.LEAST_CONNECTIONS, Policy.RESOURCE_BASED)


def endpoints(count: int, chance: random.Random) -> tuple[Endpoint, ...]:
    """All of them serve."""
    return tuple(
        Endpoint(
            instance_id=f"i-{number:05}",
            incarnation=1,
            address="127.0.0.1:7000",
            plugin_version="1.0.0",
            health=Health.SERVING,
            weight=chance.randint(1, 9),
            max_in_flight=CAP,
        )
        for number in range(count)
    )


def view(policy: Policy, among: tuple[Endpoint, ...], chance: random.Random) -> LocalView:
    """Of a caller whose calls are everywhere; what others do is told only where the policy asks for it."""
    names = [endpoint.instance_id for endpoint in among]
    told = names if policy in BY_LOAD else []
    return LocalView(
        in_flight={name: chance.randint(0, CAP // 4) for name in names},
        full=frozenset(names[:2]),
        loads={name: RemoteLoad(chance.randint(0, CAP // 4), 0.0, chance.uniform(10.0, 100.0)) for name in told},
    )


def local_pick(policy: Policy, among: tuple[Endpoint, ...], picks: int, seed: int, *, affinity: str = "") -> float:
    """The median of one pick, in microseconds."""
    chance = random.Random(seed)
    snapshot = Snapshot("bench.p", Revision(1, 1), replace(DEFAULT, pick=policy), among)
    local, cursor, times = view(policy, among, chance), Turns(), []
    for _ in range(picks):
        began = time.perf_counter_ns()
        picked = pick(snapshot, cursor, local, draw=chance.random, affinity=affinity, now=0.1)
        times.append(time.perf_counter_ns() - began)
        assert isinstance(picked, Picked)
        cursor = picked.cursor
    return statistics.median(times) / 1000


def local_picks(count: int, picks: int, seed: int) -> None:
    """Measure each policy and print."""
    among = endpoints(count, random.Random(seed))
    for policy in Policy:
        affinity = "order-7" if policy is Policy.CONSISTENT_HASH else ""
        took = local_pick(policy, among, picks, seed, affinity=affinity)
        print(f"local pick among {count}, {policy.words + ':':<21} {took:6.2f} us median (seed {seed})")


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoints", type=int, default=20)
    parser.add_argument("--picks", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    local_picks(given.endpoints, given.picks, given.seed)
    uvloop.run(feed.measure(subscribers=200, endpoints=given.endpoints, changes=20, executions=500))


if __name__ == "__main__":
    main()
