"""What the orchestrator measures of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from forgemesh.metrics import catalogue
from forgemesh.metrics.instrument import Labels, Meter
from forgemesh.orchestrator.dispatch.outcome_recorder import OutcomeRecorder
from forgemesh.orchestrator.execution.commands.use_cases import UseCases
from forgemesh.orchestrator.execution.engine.calls import Calls
from forgemesh.orchestrator.execution.state import ExecutionState


def measure(meter: Meter, offered: UseCases, recorder: OutcomeRecorder, now: Callable[[], int]) -> None:
    """From now on; `now` gives Unix nanoseconds."""
    engine, sweep, calls = offered.engine, offered.sweep, offered.calls
    durations = meter.histogram(catalogue.EXECUTION_DURATION)

    def ended(state: ExecutionState) -> None:
        labels = (state.definition.name, state.status.name.lower())
        trace_id = state.started.trace_id if state.started is not None and state.started.sampled else b""
        durations.record((state.ended_at - state.started_at) / 1e9, labels, trace_id)

    engine.on_ended.add(ended)
    meter.observe(
        catalogue.EXECUTIONS_OPEN,
        lambda: {("running",): float(engine.count), ("suspended",): float(engine.suspended_count())},
    )
    meter.observe_one(catalogue.BUGS, lambda: engine.bugs)
    meter.observe_one(catalogue.RECONCILER_SAVES, lambda: sweep.saved)
    meter.observe_one(catalogue.SLOTS_LEAKED, lambda: sweep.leaked)
    meter.observe_one(catalogue.CALLS_IN_FLIGHT, lambda: calls.in_flight)
    meter.observe(catalogue.CALLS_WAITING, lambda: _waiting(calls))
    meter.observe(catalogue.OLDEST_WAIT, lambda: _oldest(calls, now()))
    meter.add(recorder.durations)


def _waiting(calls: Calls) -> dict[Labels, float]:
    found: Counter[Labels] = Counter()
    for target, waiting, _ in calls.queues():
        found[target,] += waiting
    return {labels: float(count) for labels, count in found.items()}


def _oldest(calls: Calls, now: int) -> dict[Labels, float]:
    found: dict[Labels, float] = {}
    for target, _, since in calls.queues():
        found[target,] = max(found.get((target,), 0.0), (now - since) / 1e9)
    return found
