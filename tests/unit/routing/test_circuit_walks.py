"""Whatever happens to a circuit, in whatever order."""

from dataclasses import dataclass, field
from random import Random

from hypothesis import given, strategies as st

from forgemesh.routing.circuit import FORCED, Circuit
from forgemesh.routing.circuit_rule import CircuitRule
from forgemesh.routing.endpoint import CircuitState, CircuitView
from forgemesh.routing.outcome import CallCounts

STEPS = 120
LEGAL = {
    CircuitState.CLOSED: {CircuitState.OPEN, CircuitState.HALF_OPEN, *FORCED},
    CircuitState.OPEN: {CircuitState.HALF_OPEN, CircuitState.CLOSED, *FORCED},
    CircuitState.HALF_OPEN: {CircuitState.OPEN, CircuitState.CLOSED, *FORCED},
    **{state: {CircuitState.CLOSED, *FORCED} for state in FORCED},
}


@dataclass
class Walk:
    """A circuit that lives through what chance brings."""

    chance: Random
    circuit: Circuit
    now: float = 1000.0
    permits: list[str] = field(default_factory=list)

    def step(self) -> Circuit:
        self.now += self.chance.choice((0.0, 0.5, 3.0, 40.0))
        chance, circuit = self.chance, self.circuit
        draw = chance.random()
        permit_id = chance.choice(self.permits) if self.permits else "none"
        match chance.randrange(12):
            case 0 | 1 | 2 | 3:
                generation = max(0, circuit.generation - chance.choice((0, 0, 0, 1, 2)))
                return circuit.record(generation, counts(chance), self.now, draw)
            case 4:
                return circuit.checked(chance.random() < 0.7, self.now, draw)
            case 5:
                return circuit.readmit(self.now, "back")
            case 6 | 7:
                self.permits.append(f"p-{len(self.permits)}")
                return circuit.grant(self.permits[-1], self.now + chance.choice((1.0, 10.0)))
            case 8:
                return circuit.settle(permit_id, chance.random() < 0.5, None, self.now, draw)
            case 9:
                return circuit.give_back(permit_id)
            case 10:
                return circuit.expire(self.now, draw)
            case _:
                return self.seldom()

    def seldom(self) -> Circuit:
        chance, circuit = self.chance, self.circuit
        match chance.randrange(8):
            case 0:
                return circuit.force(chance.choice(sorted(FORCED, key=str)), "order", self.now)
            case 1 | 2 | 3:
                return circuit.reset("order", self.now)
            case 4:
                known = CircuitView(chance.choice(list(CircuitState)), circuit.generation + chance.randrange(-2, 3))
                return circuit.adopt(known, self.now)
            case _:
                return circuit.under(rule(chance))


def rule(chance: Random) -> CircuitRule:
    return CircuitRule(
        consecutive_failures=chance.choice((0, 1, 5)),
        failure_rate=chance.choice((0.0, 0.5, 1.0)),
        slow_call_rate=chance.choice((0.0, 0.3)),
        minimum_calls=chance.choice((0, 10)),
        window_calls=chance.choice((0, 7)),
        permits=chance.choice((1, 3)),
    )


def counts(chance: Random) -> CallCounts:
    succeeded, failed = chance.randrange(4), chance.randrange(4)
    row = chance.randint(0, failed) if succeeded else failed
    return CallCounts(
        succeeded=succeeded, failed=failed, slow=chance.randint(0, succeeded), failures_in_a_row=row, ignored=1
    )


def walk(seed: int) -> Walk:
    chance = Random(seed)
    return Walk(chance, Circuit(rule=rule(chance)))


@given(st.integers(0, 2**32))
def test_a_generation_is_one_state_and_never_comes_back(seed: int) -> None:
    way = walk(seed)
    for _ in range(STEPS):
        before, way.circuit = way.circuit, way.step()

        assert way.circuit.generation >= before.generation
        assert way.circuit.generation != before.generation or way.circuit.state is before.state
        if way.circuit == before:
            assert way.circuit is before


@given(st.integers(0, 2**32))
def test_it_goes_only_where_it_may_one_generation_at_a_time(seed: int) -> None:
    way = walk(seed)
    for _ in range(STEPS):
        before, way.circuit = way.circuit, way.step()
        if way.circuit.generation == before.generation + 1 and before.state is not way.circuit.state:
            assert way.circuit.state in LEGAL[before.state]


@given(st.integers(0, 2**32))
def test_never_are_more_permits_out_than_its_rule_has(seed: int) -> None:
    way = walk(seed)
    most: dict[int, int] = {}
    for _ in range(STEPS):
        way.circuit = way.step()
        circuit = way.circuit
        most[circuit.generation] = max(most.get(circuit.generation, 0), circuit.rule.permits)

        assert len(circuit.trials.out) + circuit.trials.settled <= most[circuit.generation]
        assert not circuit.trials.out or circuit.state is CircuitState.HALF_OPEN


@given(st.integers(0, 2**32))
def test_wherever_it_got_to_sound_calls_close_it_again(seed: int) -> None:
    way = walk(seed)
    for _ in range(way.chance.randrange(STEPS)):
        way.circuit = way.step()
    circuit, now = way.circuit, way.now
    if circuit.state in FORCED:
        return

    for number in range(20):
        if (due := circuit.next_look()) is not None:
            now = max(now, due)
        circuit = circuit.expire(now, 0.5).checked(True, now, 0.5)
        if circuit.vacant:
            circuit = circuit.grant(f"sound-{number}", now + 10.0)
            circuit = circuit.settle(f"sound-{number}", True, None, now, 0.5)

    assert circuit.state is CircuitState.CLOSED
    assert circuit.next_look() is None
