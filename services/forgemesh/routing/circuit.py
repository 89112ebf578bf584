"""Whether an instance may be called, as its own record has it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from forgemesh.faults import Code
from forgemesh.routing.circuit_rule import CircuitRule
from forgemesh.routing.endpoint import CircuitState, CircuitView
from forgemesh.routing.outcome import CallCounts, CallFailure
from forgemesh.routing.outcome_window import OutcomeWindow
from forgemesh.routing.trials import MOST_LOST, NO_TRIALS, Trials

TRIAL_FAILURE_RATE = 0.5
"""Share of failed trial calls from which on a circuit opens again if its rule has no failure rate."""
LONGEST_QUOTE = 200
"""Characters of a failure's message in a cause."""

FORCED = frozenset({CircuitState.FORCED_OPEN, CircuitState.FORCED_CLOSED, CircuitState.METRICS_ONLY})
"""States that only an operator begins and ends."""
_COUNTING = frozenset({CircuitState.CLOSED, CircuitState.FORCED_CLOSED, CircuitState.METRICS_ONLY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """
    Guards one instance at one incarnation: CLOSED admits all, OPEN none, HALF_OPEN trial calls with one of its permits.

    A value: each method returns the next one, or this very one if nothing changes. Every transition starts a new
    generation; calls and permits belong to the one in which they were sent, and outcomes from another one change
    nothing. Moments are monotonic seconds, `draw` is a random number in [0, 1). Time alone changes nothing either:
    whoever keeps the circuit looks at it again at `next_look`.

    `opened` counts how often it opened since it was closed last. `would_open` says, while only metrics are kept, why
    the circuit would be open. The counts in `window` are those of the last record; `window.at(now)` are those of now.
    """

    rule: CircuitRule
    generation: int = 0
    state: CircuitState = CircuitState.CLOSED
    open_until: float = 0.0
    opened: int = 0
    cause: str = ""
    traceparent: str = ""
    changed_at: float = 0.0
    window: OutcomeWindow = field(default=OutcomeWindow(seconds=0.0))
    failures_in_a_row: int = 0
    last_failure: CallFailure | None = None
    would_open: str = ""
    trials: Trials = NO_TRIALS

    def __post_init__(self) -> None:
        window = self.window.under(self.rule.window, self.rule.window_calls)
        if window is not self.window:
            object.__setattr__(self, "window", window)

    def view(self) -> CircuitView:
        """What pickers need to know of it."""
        open_until = self.open_until if self.state is CircuitState.OPEN else 0.0
        return CircuitView(self.state, self.generation, open_until, self.cause, self.traceparent)

    def record(self, generation: int, counts: CallCounts, now: float, draw: float) -> Circuit:
        """Calls ended that were sent in `generation`; `counts` is a difference of accounts, trial calls left out."""
        if generation != self.generation or self.state not in _COUNTING or not (counts.succeeded or counts.failed):
            return self
        row = counts.failures_in_a_row + (0 if counts.succeeded else self.failures_in_a_row)
        failure = counts.last_failure or self.last_failure
        seen = replace(self, window=self.window.plus(counts, now), failures_in_a_row=row, last_failure=failure)
        bad = None if self.state is CircuitState.FORCED_CLOSED else seen._too_bad()
        if self.state is CircuitState.METRICS_ONLY:
            return replace(seen, would_open=bad.why if bad else "")
        return seen._open(bad.why, bad.failure, now, draw) if bad else seen

    def is_due(self, now: float) -> bool:
        """Whether it has been open long enough: a health check has to decide."""
        return self.state is CircuitState.OPEN and now >= self.open_until

    def checked(self, passed: bool, now: float, draw: float) -> Circuit:
        """The health check of a circuit that is due passed, or not: then it stays open, as after a failed trial."""
        if not self.is_due(now):
            return self
        if passed:
            return self._enter(CircuitState.HALF_OPEN, "it was open long enough and the health check passed", now)
        again = self.opened + 1
        return replace(self, opened=again, open_until=now + self._pause(again, draw))

    def readmit(self, now: float, cause: str) -> Circuit:
        """An instance that was out for its health alone is back: it begins with a trial call."""
        return self._enter(CircuitState.HALF_OPEN, cause, now) if self.state is CircuitState.CLOSED else self

    @property
    def vacant(self) -> int:
        """How many permits may be granted now."""
        if self.state is not CircuitState.HALF_OPEN:
            return 0
        return max(0, self._permits - len(self.trials.out) - self.trials.settled)

    def grant(self, permit_id: str, until: float) -> Circuit:
        """A permit goes out until a moment; nothing happens if none is vacant, or if this one is out already."""
        if not self.vacant or self.trials.holds(permit_id):
            return self
        return replace(self, trials=self.trials.granted(permit_id, until))

    def settle(self, permit_id: str, ok: bool, failure: CallFailure | None, now: float, draw: float) -> Circuit:
        """A trial call ended; a permit that is not out any more changes nothing. The last one decides."""
        if not self.trials.holds(permit_id):
            return self
        last_failure = self.last_failure if ok else failure or self.last_failure
        return replace(self, trials=self.trials.ended(permit_id, ok, failure), last_failure=last_failure)._decided(
            now, draw
        )

    def give_back(self, permit_id: str) -> Circuit:
        """A permit was not used, or its call says nothing: it is vacant again."""
        return replace(self, trials=self.trials.returned(permit_id)) if self.trials.holds(permit_id) else self

    def extend(self, permit_id: str, until: float) -> Circuit:
        """The trial call of a permit that is out is under way, and may be for longer than its lease."""
        return replace(self, trials=self.trials.extended(permit_id, until)) if self.trials.holds(permit_id) else self

    def lose(self, permit_id: str, now: float, draw: float) -> Circuit:
        """The holder of a permit that is out is gone; see expire."""
        if not self.trials.holds(permit_id):
            return self
        return replace(self, trials=self.trials.without(permit_id))._unless_lost(now, draw)

    def expire(self, now: float, draw: float) -> Circuit:
        """Permits whose lease is over are vacant again; three in a row and it opens, for as long as the last time."""
        trials = self.trials.at(now)
        return (self if trials is self.trials else replace(self, trials=trials))._unless_lost(now, draw)

    def next_look(self) -> float | None:
        """When `is_due` or `expire` has to be asked next; None: not before something else happens."""
        if self.state is CircuitState.OPEN:
            return self.open_until
        if self._is_decided:
            return self.changed_at
        return min([lease.until for lease in self.trials.out], default=None)

    def force(self, state: CircuitState, cause: str, now: float) -> Circuit:
        """An operator wants one of the FORCED states."""
        if state not in FORCED:
            raise ValueError(f"nobody can force a circuit to be {state.value}")
        return self if self.state is state else replace(self._enter(state, cause, now), opened=0)

    def reset(self, cause: str, now: float) -> Circuit:
        """An operator wants it closed, with nothing on record; a closed one stays in its generation."""
        if self.state is CircuitState.CLOSED:
            clean = replace(self, window=self.window.fresh(), failures_in_a_row=0, last_failure=None, opened=0)
            return self if clean == self else clean
        return replace(self._enter(CircuitState.CLOSED, cause, now), opened=0, last_failure=None)

    def under(self, rule: CircuitRule) -> Circuit:
        """Another rule counts from now on; what is decided stays."""
        return self if rule == self.rule else replace(self, rule=rule)

    def adopt(self, view: CircuitView, now: float) -> Circuit:
        """
        What somebody knows from an earlier keeper of this circuit; only a higher generation is news.

        Permits of a half-open circuit may be out, so that it waits until they are not: open, a generation later. What
        an operator ordered stays, a generation later too.
        """
        if view.generation <= self.generation:
            return self
        if self.state in FORCED:
            return replace(self, generation=view.generation + (self.state is not view.state))
        adopted = Circuit(
            rule=self.rule,
            generation=view.generation,
            state=view.state,
            cause=view.cause,
            traceparent=view.traceparent,
            changed_at=now,
        )
        if view.state is CircuitState.OPEN:
            return replace(adopted, opened=1, open_until=max(now, min(view.open_until, now + self.rule.longest)))
        if view.state is CircuitState.HALF_OPEN:
            waiting = replace(adopted, state=CircuitState.OPEN, generation=view.generation + 1, opened=1)
            return replace(waiting, open_until=now + self.rule.permit_lease)
        return adopted

    @property
    def _permits(self) -> int:
        return max(1, self.rule.permits)

    @property
    def _is_decided(self) -> bool:
        return self.state is CircuitState.HALF_OPEN and self.trials.settled >= self._permits

    def _unless_lost(self, now: float, draw: float) -> Circuit:
        """Open again if too many permits were lost in a row, else as far as the trial calls have decided."""
        lost = self.trials.lost
        if lost < MOST_LOST:
            return self._decided(now, draw)
        why = f"{lost} permits for trial calls in a row were lost"
        return replace(self, opened=max(0, self.opened - 1))._open(why, None, now, draw)

    def _decided(self, now: float, draw: float) -> Circuit:
        """Closed or open again once enough trial calls have said something."""
        if not self._is_decided:
            return self
        failed, settled = self.trials.failed, self.trials.settled
        if failed and failed / settled >= (self.rule.failure_rate or TRIAL_FAILURE_RATE):
            failure = self.trials.last_failure
            return self._open(f"{failed} of {settled} trial calls failed{_last(failure)}", failure, now, draw)
        cause = f"{settled - failed} of {settled} trial calls succeeded"
        return replace(self._enter(CircuitState.CLOSED, cause, now), opened=0)

    def _too_bad(self) -> _Bad | None:
        """Which rule says that it has to open."""
        rule, window = self.rule, self.window
        if 0 < rule.consecutive_failures <= self.failures_in_a_row:
            row = f"{self.failures_in_a_row} failure{'' if self.failures_in_a_row == 1 else 's'} in a row"
            return _Bad(row + _last(self.last_failure), self.last_failure)
        least = min(rule.minimum_calls, rule.window_calls) if rule.window_calls else rule.minimum_calls
        if not window.calls or window.calls < least:
            return None
        if 0 < rule.failure_rate <= window.failure_rate:
            share = f"{_percent(window.failure_rate)} of {window.calls} calls failed"
            return _Bad(share + _last(self.last_failure), self.last_failure)
        if 0 < rule.slow_call_rate <= window.slow_rate:
            return _Bad(f"{_percent(window.slow_rate)} of {window.calls} calls were slow", None)
        return None

    def _open(self, why: str, failure: CallFailure | None, now: float, draw: float) -> Circuit:
        """Open, for longer than the last time; without a failure as its cause the link to the last one stays."""
        again = self.opened + 1
        until = now + self._pause(again, draw)
        traceparent = failure.traceparent if failure else self.traceparent
        entered = self._enter(CircuitState.OPEN, why, now)
        return replace(entered, opened=again, open_until=until, traceparent=traceparent)

    def _pause(self, opened: int, draw: float) -> float:
        """Seconds that it is open when it opens for this time in a row."""
        rule = self.rule
        steps = min(opened - 1, 64)
        wanted = rule.open * max(1.0, rule.backoff) ** steps
        return min(wanted, max(rule.open, rule.max_open)) * (1 + rule.jitter * (2 * draw - 1))

    def _enter(self, state: CircuitState, cause: str, now: float) -> Circuit:
        """In another state; what it saw stays on record until it is closed or an operator takes over."""
        entered = replace(
            self,
            state=state,
            generation=self.generation + 1,
            cause=cause,
            changed_at=now,
            open_until=0.0,
            would_open="",
            trials=NO_TRIALS,
        )
        if state in (CircuitState.OPEN, CircuitState.HALF_OPEN):
            return entered
        return replace(entered, window=self.window.fresh(), failures_in_a_row=0, traceparent="")


class _Bad(NamedTuple):
    """A rule that says that a circuit has to open, and the failure that is the cause, if one is."""

    why: str
    failure: CallFailure | None


def _last(failure: CallFailure | None) -> str:
    if failure is None:
        return ""
    try:
        code = Code(failure.code).name
    except ValueError:
        code = f"code {failure.code}"
    message = failure.message.partition("\n")[0]
    quote = message if len(message) <= LONGEST_QUOTE else message[: LONGEST_QUOTE - 3] + "..."
    return f", last {code}: {quote}" if quote else f", last {code}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
