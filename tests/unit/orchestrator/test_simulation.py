import sys
from collections import Counter
from types import FrameType
from typing import Any, Self

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from forgemesh.orchestrator.execution import decide, facts as e, fold, scopes, state, triggers
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.execution.trace.exporter import encode
from forgemesh.orchestrator.execution.trace.spans import BLOCKED, RUN, ExecutionTrace, span_id
from tests.seeds import FIRST, PARTS, SEEDS, seeds_of, shared_folder, together
from tests.unit.orchestrator.histories import History, unavailable
from tests.unit.orchestrator.planted_bugs import PLANTED
from tests.unit.orchestrator.workflows import call, of_steps, parallel
from tests.unit.orchestrator.world import World

OF_MESHES = {"ChildCommandRefused", "ExecutionQueued"}
"""Facts that no execution makes alone; test_mesh_simulation.py requires them."""
ENOUGH = 400
"""Seeds within which a planted bug must show."""


def ended(seed: int) -> World:
    """The world of a seed at its end; no invariant was broken on the way."""
    world = World(seed)
    try:
        world.run()
    except Exception as error:
        error.add_note(f"FORGEMESH_SEED={seed} FORGEMESH_SIMULATIONS=1")
        raise
    return world


@pytest.mark.timeout(0)
@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_happens_and_whenever_it_crashes_an_execution_comes_to_its_end(
    part: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outcomes: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    crashes = 0
    for seed in seeds_of(part):
        world = ended(seed)
        outcomes[world.model.over] += 1
        kinds.update({type(event.fact).__name__ for event in world.events})
        crashes += world.crashes
        assert_spans_are_whole(world)
    shown = {"outcomes": outcomes, "kinds": kinds, "crashes": {"all": crashes}}

    everything = together(shared_folder(tmp_path_factory, "simulated-executions"), part, shown)
    if everything is not None and SEEDS >= ENOUGH:
        assert everything["crashes"]["all"] > SEEDS / 4
        assert set(everything["outcomes"]) >= {
            "SUCCEEDED",
            "FAILED",
            "COMPENSATED",
            "COMPENSATION_FAILED",
            "TIMED_OUT",
            "CANCELLED",
        }
        assert set(everything["kinds"]) == {fact.__name__ for fact in e.Fact.__args__} - OF_MESHES


def assert_spans_are_whole(world: World) -> None:
    """Every try has one span, and every span its parent."""
    keys = [span.key for span in world.spans]
    known = set(keys)
    tries = {key for key in known if key[0] == "attempt"}

    assert world.trace.started is not None
    assert len(keys) == len(known) == len({span_id(world.trace.owner, key) for key in known})
    assert tries == {
        ("attempt", path, str(number)) for path, count in world.model.attempts.items() for number in range(1, count + 1)
    }
    assert [span.key for span in world.spans if span.parent is None] == [(RUN,)]
    assert all(span.parent is None or span.parent in known for span in world.spans)
    assert all(span.start <= span.end for span in world.spans)
    assert all(link.key in known for span in world.spans for link in span.links)


def test_a_process_that_takes_over_derives_the_same_spans() -> None:
    for seed in range(FIRST, FIRST + min(SEEDS, 100)):
        world = ended(seed)
        trace = ExecutionTrace("e-1", world.definition)

        again = [span for event in world.events for span in trace.project(event)]

        assert again == world.spans, seed


@pytest.mark.timeout(0)
@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_caught(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    PLANTED[bug](monkeypatch)

    def caught(seed: int) -> bool:
        try:
            World(seed).run()
        except Exception:  # noqa: BLE001 - however it shows
            return True
        return False

    assert any(caught(seed) for seed in range(ENOUGH)), f"{bug} was not caught in {ENOUGH} worlds"


class Operations:
    """Counts the bytecode instructions that run in the pure core; early 3.12 tells of none: there it counts calls."""

    def __init__(self) -> None:
        self.count = 0
        self._files = {decide.__file__, fold.__file__, scopes.__file__, state.__file__, triggers.__file__}

    def __enter__(self) -> Self:
        self._earlier = sys.gettrace()
        if sys.version_info[:2] == (3, 12):
            sys.setprofile(self._called)
        else:
            sys.settrace(self._entered)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._earlier)
        sys.setprofile(None)

    def _entered(self, frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in self._files:
            return None
        frame.f_trace_opcodes = True
        return self._step

    def _step(self, frame: FrameType, event: str, argument: Any) -> Any:
        self.count += event == "opcode"
        return self._step

    def _called(self, frame: FrameType, event: str, argument: Any) -> None:
        self.count += event in ("call", "c_call") and frame.f_code.co_filename in self._files


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


def test_every_span_has_a_form_on_the_wire() -> None:
    for seed in range(200):
        world = ended(seed)
        shown = [Span.FromString(encode(world.trace, span)) for span in world.spans]
        assert [span.name for span in shown] == [span.name for span in world.spans]


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
