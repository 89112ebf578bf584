from typing import Any

import pytest

from forgemesh.routing.eligibility import Exclusion, LocalView, Permit
from forgemesh.routing.endpoint import Admission, CircuitState, CircuitView, Health
from forgemesh.routing.pick import NoPickReason
from forgemesh.routing.round_robin import Turns
from tests.unit.routing.endpoints import endpoint, pick, picked, refused, snapshot

WELL: dict[str, Any] = {}
EJECTED: dict[str, Any] = {"ejected": True}
ILL: dict[str, Any] = {"health": Health.NOT_SERVING}
OPEN: dict[str, Any] = {"circuit": CircuitView(CircuitState.OPEN)}
OUT: dict[str, Any] = {"admission": Admission.OUT}


@pytest.mark.parametrize(
    ("threshold", "facts", "eligible"),
    [
        (0.0, [EJECTED, EJECTED, WELL], "c"),
        (0.5, [EJECTED, EJECTED, WELL], "abc"),
        (0.5, [EJECTED, WELL], "b"),
        (0.51, [EJECTED, WELL], "ab"),
        (0.5, [EJECTED, WELL, WELL], "bc"),
        (0.9, [EJECTED, ILL, WELL], "ac"),
        (0.9, [EJECTED | ILL, EJECTED | OPEN, EJECTED | OUT, WELL], "d"),
        (0.9, [ILL, OPEN, OUT, WELL], "d"),
        (1.0, [WELL, WELL], "ab"),
        (0.1, [EJECTED] * 9 + [WELL], "j"),
    ],
)
def test_with_too_few_left_those_that_were_ejected_count_again_and_nobody_else(
    threshold: float, facts: list[dict[str, Any]], eligible: str
) -> None:
    at = snapshot(
        *(endpoint(name, **given) for name, given in zip("abcdefghij", facts, strict=False)), panic_threshold=threshold
    )

    assert "".join(one.instance_id for one in at.open) == eligible
    assert picked(pick(at, Turns(), LocalView())).eligible == len(eligible)


def test_without_a_threshold_all_may_be_ejected() -> None:
    answer = refused(pick(snapshot(endpoint("a", ejected=True)), Turns(), LocalView()))

    assert answer.reason is NoPickReason.NONE_HEALTHY
    assert answer.excluded == (("a", Exclusion.EJECTED),)


def test_in_a_panic_an_ejected_instance_with_a_half_open_circuit_still_needs_its_permit() -> None:
    at = snapshot(endpoint("a", ejected=True, circuit=CircuitView(CircuitState.HALF_OPEN, 1)), panic_threshold=0.5)
    permits = {"a": Permit("p-1", 1, 1)}

    assert refused(pick(at, Turns(), LocalView(), trial=True)).reason is NoPickReason.CIRCUIT_OPEN
    assert picked(pick(at, Turns(), LocalView(permits=permits), trial=True)).permit is permits["a"]


def test_an_empty_snapshot_does_not_panic() -> None:
    assert not snapshot(panic_threshold=1.0).panics
