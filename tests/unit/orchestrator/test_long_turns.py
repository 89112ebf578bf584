"""What one turn decides may come in several: the others have theirs in between, and nothing else is different."""

import pytest

from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.decide import advance, next_wake, record
from forgemesh.orchestrator.execution.state import ExecutionState
from tests.unit.orchestrator.histories import History
from tests.unit.orchestrator.workflows import parsed

CALL = "call: {plugin: p, operation: o}"
WIDE = f"""
name: wide
vars: {{n: 1}}
steps:
  - id: all
    map: {{over: "${{input.items}}", max_concurrency: 0, steps: [{{id: x, {CALL}, input: "${{item}}"}}]}}
"""
GRAPH = f"""
name: graph
steps:
  - id: both
    parallel:
      branches:
        a: [{{id: x, {CALL}}}, {{id: y, {CALL}}}]
        b: [{{id: x, when: "false", {CALL}}}, {{id: y, {CALL}}}]
        c: [{{id: w, wait: {{for: 10s}}}}]
        d: [{{id: s, wait: {{signal: go}}}}]
"""


def facts_of(events: list[e.Event]) -> list[e.Fact]:
    return [event.fact for event in events]


def decided(history: History, *, at_once: bool) -> tuple[list[list[e.Fact]], ExecutionState]:
    """What follows from the start, by turns; in as many as can be, unless `at_once`."""
    state = ExecutionState("default", "e", history.state.definition)
    record(state, history.events[0].fact, history.now)
    turns = [facts_of(advance(state, history.now, enough=lambda: not at_once))]
    while state.unfinished:
        assert next_wake(state) == state.last_at
        turns.append(facts_of(advance(state, history.now, enough=lambda: not at_once)))
    return turns, state


@pytest.mark.parametrize(("source", "given"), [(WIDE, {"items": list(range(50))}), (GRAPH, {})])
def test_several_turns_decide_what_one_decides(source: str, given: object) -> None:
    history = History(parsed(source), given)
    (whole,), _ = decided(history, at_once=True)
    turns, state = decided(history, at_once=False)

    assert [fact for turn in turns for fact in turn] == whole
    assert len(turns) > 1
    assert advance(state, history.now) == []
    assert not state.unfinished


def test_a_turn_decides_something_however_long_it_is() -> None:
    turns, _ = decided(History(parsed(WIDE), {"items": list(range(50))}), at_once=False)

    assert all(turns[:-1])
