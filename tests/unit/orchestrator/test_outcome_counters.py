import random

import pytest

from forgemesh.orchestrator.dispatch.outcome_counters import Counted, OutcomeCounters
from forgemesh.routing.outcome import CallCounts, CountKey, Outcome


class Listener:
    """A balancer that hears some reports, some twice, some late, and remembers the newest of each key."""

    def __init__(self) -> None:
        self.known: dict[CountKey, tuple[int, CallCounts]] = {}
        self.highest = 0

    def hear(self, sequence: int, counts: list[Counted]) -> None:
        self.highest = max(self.highest, sequence)
        for key, told, _ in counts:
            if sequence >= self.known.get(key, (0, None))[0]:
                self.known[key] = sequence, told


@pytest.mark.parametrize("seed", range(20))
def test_reports_that_are_lost_repeated_or_late_do_no_harm_and_nothing_is_forgotten_too_early(seed: int) -> None:
    print(f"seed {seed}")
    draws = random.Random(seed)
    counters, listener = OutcomeCounters(), Listener()
    truth: dict[CountKey, list[int]] = {}
    under_way: list[CountKey] = []
    sent: list[tuple[int, list[Counted]]] = []
    generation = 1
    for _ in range(500):
        match draws.choice(("start", "start", "end", "end", "report", "hear", "hear", "acknowledge", "move on")):
            case "start":
                key = CountKey("p", "i-1", 1, generation)
                counter = counters.counter(key)
                counter.tally.started += 1
                counters.touch(counter)
                truth.setdefault(key, [0, 0])[0] += 1
                under_way.append(key)
            case "end" if under_way:
                key = under_way.pop(draws.randrange(len(under_way)))
                counter = counters.counter(key)
                counter.tally.ended(Outcome.OK, 0.0)
                counters.touch(counter)
                truth[key][1] += 1
            case "report":
                counts = counters.next()
                sent.append((counters.sequence, counts))
            case "hear" if sent:
                listener.hear(*draws.choice(sent[-5:]))
            case "acknowledge":
                counters.acknowledge(listener.highest)
            case "move on" if draws.random() < 0.2:
                generation += 1
                counters.current("p", {"i-1": (1, generation)})
    counts = counters.next()
    listener.hear(counters.sequence, counts)

    heard = {key: [told.started, told.succeeded] for key, (_, told) in listener.known.items()}
    assert heard == truth
    for key in under_way:
        counter = counters.counter(key)
        counter.tally.ended(Outcome.IGNORED, 0.0)
        counters.touch(counter)
    counters.next()
    counters.acknowledge(counters.sequence)
    assert {one.key.generation for one in counters.baseline()} <= {generation}


def test_an_acknowledgement_of_what_was_never_sent_acknowledges_nothing_more() -> None:
    counters = OutcomeCounters()
    counters.touch(counters.counter(CountKey("p", "i-1", 1, 1)))

    counters.acknowledge(1_000)

    assert counters.acknowledged == 0
    assert len(counters.next()) == 1
