import sys
from types import FrameType
from typing import Any, Self

import pytest

from forgemesh.orchestrator.domain import decide, fold
from forgemesh.orchestrator.domain.state import Status
from forgemesh.orchestrator.domain.trace import BLOCKED, RUN, ExecutionTrace, SpanFacts, span_id
from tests.unit.orchestrator.histories import History, unavailable
from tests.unit.orchestrator.simulation import Simulation
from tests.unit.orchestrator.workflows import call, of_steps, parallel

SEEDS = range(500)


@pytest.fixture(scope="module")
def simulations() -> dict[int, Simulation]:
    """By seed; each has come to its end, and no invariant was broken on the way."""
    finished: dict[int, Simulation] = {}
    for seed in SEEDS:
        try:
            finished[seed] = Simulation(seed)
            finished[seed].run()
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
    return finished


def test_whatever_happens_and_whenever_it_crashes_an_execution_comes_to_its_end(
    simulations: dict[int, Simulation],
) -> None:
    failures = [simulation.history.state.failure for simulation in simulations.values()]

    assert sum(simulation.crashes for simulation in simulations.values()) > 100
    assert {failure.reason if failure is not None else "SUCCEEDED" for failure in failures} >= {
        "SUCCEEDED",
        "BROKEN",
        "AWAY",
        "HOST_LOST",
        "ORCHESTRATOR_LOST",
        "NO_CASE_MATCHED",
        "EXPRESSION_ERROR",
        "EXECUTION_TIMEOUT",
    }


def spans_of(simulation: Simulation) -> list[SpanFacts]:
    trace = ExecutionTrace("e-1", simulation.history.definition)
    return [span for event in simulation.history.events for span in trace.project(event)]


def test_every_try_has_one_span_and_every_span_its_parent(simulations: dict[int, Simulation]) -> None:
    for seed, simulation in simulations.items():
        spans = spans_of(simulation)
        keys = {span.key for span in spans}
        tries = {key for key in keys if key[0] == "attempt"}

        assert len(spans) == len(keys) == len({span_id("e-1", key) for key in keys}), seed
        assert tries == {
            ("attempt", path, str(number))
            for path, count in simulation.ledger.attempts.items()
            for number in range(1, count + 1)
        }, seed
        assert [span.key for span in spans if span.parent is None] == [(RUN,)], seed
        assert all(span.parent is None or span.parent in keys for span in spans), seed
        assert all(span.start <= span.end for span in spans), seed
        assert all(link.key in keys for span in spans for link in span.links), seed
        assert {key[1] for key in keys if key[0] in ("group", "attempt")} <= simulation.ledger.begun, seed


def test_a_process_that_takes_over_derives_the_same_spans(simulations: dict[int, Simulation]) -> None:
    for seed, simulation in simulations.items():
        everything = spans_of(simulation)
        trace = ExecutionTrace("e-1", simulation.history.definition)
        cut = len(simulation.history.events) // 2
        for event in simulation.history.events[:cut]:
            trace.project(event)

        rest = [span for event in simulation.history.events[cut:] for span in trace.project(event)]

        assert everything[len(everything) - len(rest) :] == rest, seed


class Operations:
    """Counts the bytecode instructions that run in the pure core."""

    def __init__(self) -> None:
        self.count = 0
        self._files = {decide.__file__, fold.__file__, fold.__file__.replace("fold.py", "state.py")}

    def __enter__(self) -> Self:
        self._earlier = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._earlier)

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in self._files:
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._step

    def _step(self, frame: FrameType, event: str, argument: Any) -> Any:
        self.count += event == "opcode"
        return self._step


def operations_per_event(branches: int) -> float:
    group = parallel("g", **{f"b{number}": [call("x"), call("y")] for number in range(branches)})
    definition = of_steps(group, call("z"))
    with Operations() as operations:
        history = History(definition)
        for number in range(branches):
            history.fail(f"g/b{number}/x", unavailable(retry_after=1.0 + number / 1000))
        while history.state.waiting:
            history.now = decide.next_wake(history.state) or 0
            history.turn()
        for number in range(branches):
            history.succeed(f"g/b{number}/x")
            history.block(f"g/b{number}/y")
            history.unblock(f"g/b{number}/y")
            history.succeed(f"g/b{number}/y")
        history.succeed("z")
    assert history.state.status is Status.SUCCEEDED
    return operations.count / len(history.events)


def test_an_event_costs_the_same_however_large_the_execution_is() -> None:
    small, large = operations_per_event(20), operations_per_event(300)

    assert large == pytest.approx(small, rel=0.1)


def test_a_block_that_changes_its_reason_is_two_spans() -> None:
    history = History(of_steps(call("a")))
    history.block("a", "NONE_HEALTHY")
    history.block("a", "CIRCUIT_OPEN")
    history.unblock("a")
    history.block("a", "CIRCUIT_OPEN")
    history.succeed("a")
    trace = ExecutionTrace("e-1", history.definition)

    spans = [span for event in history.events for span in trace.project(event)]

    blocks = [span for span in spans if span.key[0] == BLOCKED]
    assert [dict(span.facts)["reason"] for span in blocks] == ["NONE_HEALTHY", "CIRCUIT_OPEN", "CIRCUIT_OPEN"]
    assert len({span.key for span in spans}) == len(spans)


def test_each_recovery_has_its_own_span_also_within_one_process() -> None:
    history = History(of_steps(call("a")))
    history.crash()
    history.crash()
    trace = ExecutionTrace("e-1", history.definition)

    spans = [span for event in history.events for span in trace.project(event)]

    assert len({span.key for span in spans if span.key[0] == "recover"}) == 2
