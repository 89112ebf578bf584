"""How a call in flight stands after each thing that may happen to it."""

from __future__ import annotations

import pytest

from forgemesh.orchestrator.dispatch.call_state import AFTER, CallEvent, CallState, ImpossibleEvent

STATES = ["WAITING", "SENT", "HEDGED", "CANCELLING", "OVER"]
TABLE = """
LEFT         SENT     -        -           -           -
SECOND_LEFT  -        HEDGED   -           -           -
DECIDED      -        OVER     OVER        OVER        -
FAILED       -        OVER     SENT        OVER        -
UNSENT       -        WAITING  SENT        OVER        -
CALLED_OFF   -        -        SENT        -           -
CANCELLED    OVER     CANCELLING CANCELLING -          -
TIMED_OUT    OVER     OVER     -           OVER        -
REFUSED      OVER     -        -           -           -
FORGOTTEN    OVER     OVER     OVER        OVER        -
"""
"""By event, what follows each of STATES; "-" cannot happen."""
ROWS = {line.split()[0]: line.split()[1:] for line in TABLE.strip().splitlines()}
PAIRS = [(state, event) for state in CallState for event in CallEvent]


def test_the_table_names_every_state_and_every_event() -> None:
    assert [state.name for state in CallState] == STATES
    assert list(ROWS) == [event.name for event in CallEvent]
    assert {len(row) for row in ROWS.values()} == {len(STATES)}


@pytest.mark.parametrize(("state", "event"), PAIRS, ids=[f"{state.name}-{event.name}" for state, event in PAIRS])
def test_what_follows_each_state_when_something_happens(state: CallState, event: CallEvent) -> None:
    follows = ROWS[event.name][STATES.index(state.name)]
    if follows == "-":
        with pytest.raises(ImpossibleEvent, match=f"{event.name} happened to a call that is {state.name}"):
            AFTER[state][event]
    else:
        assert AFTER[state][event] is CallState[follows]


def test_every_call_can_end_from_wherever_it_stands() -> None:
    def reached(state: CallState) -> set[CallState]:
        found, open_ = {state}, [state]
        while open_:
            for follows in AFTER[open_.pop()].values():
                if follows not in found:
                    found.add(follows)
                    open_.append(follows)
        return found

    assert [state.name for state in CallState if CallState.OVER not in reached(state)] == []
    assert reached(CallState.OVER) == {CallState.OVER}
