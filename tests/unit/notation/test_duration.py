"""One notation of lengths of time, for all who read one."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction

import pytest

from forgemesh.cli.arguments import seconds as seconds_of_option
from forgemesh.notation.duration import Length, exact_seconds, seconds_of
from forgemesh.orchestrator.workflow.definition import Call
from forgemesh.plugin import define, manifest_of, operation, plugin
from tests.unit.orchestrator.workflows import call, of_steps


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        *[("200ms", 0.2), ("5s", 5.0), ("2m", 120.0), ("1h", 3600.0), ("1d", 86_400.0), ("1.5 s", 1.5)],
        *[(3, 3.0), (0.25, 0.25), (timedelta(minutes=2), 120.0)],
    ],
)
def test_a_length_of_time_is_read_with_its_unit(written: Length, seconds: float) -> None:
    assert seconds_of(written) == seconds


@pytest.mark.parametrize("written", ["", "5", "s", "5 parsecs", "-5s", "0s", 0, -1.0, float("inf"), float("nan")])
def test_what_is_no_positive_length_of_time_is_refused(written: Length) -> None:
    with pytest.raises(ValueError, match="length of time"):
        seconds_of(written)


@pytest.mark.parametrize("written", ["9" * 400 + "d", "9" * 2_000 + "s", "\u0661s"])
def test_what_no_number_can_hold_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="length of time"):
        seconds_of(written)


def test_nothing_is_a_length_of_time_where_that_is_said() -> None:
    assert seconds_of("0s", zero=True) == 0
    with pytest.raises(ValueError, match="must not be negative"):
        seconds_of(-1, zero=True)


@pytest.mark.parametrize("written", [" 1s", "1 s", "1s\n", "1", "s1"])
def test_a_definition_knows_one_spelling(written: str) -> None:
    assert exact_seconds("0.1s") == Fraction(1, 10)
    assert exact_seconds(written) is None


@pytest.mark.parametrize("written", ["200ms", "5s", "1.5m", "1h", "1d"])
def test_an_operation_a_step_and_an_option_read_the_same(written: str) -> None:
    @plugin("test.slow", version="1.0.0")
    class Slow:
        @operation(timeout=written)
        def run(self) -> None:
            """Take its time."""

    (step,) = of_steps(call("a", timeouts={"start_to_close": written})).steps
    assert isinstance(step, Call)

    known = seconds_of(written)
    assert step.timeouts.start_to_close == known
    assert seconds_of_option(written, "--timeout") == known
    (run,) = manifest_of(define(Slow)).operations
    assert run.timeout.ToNanoseconds() == round(known * 1e9)
