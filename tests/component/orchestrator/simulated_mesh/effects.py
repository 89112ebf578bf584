"""What plugins have really done, in their own account of it; nothing here believes the orchestrator."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from forgemesh.api.plugin.v1 import invocation_pb2
from tests.component.orchestrator.simulated_mesh.laws import demand

StepKey: TypeAlias = tuple[int, str]
"""The store's own name for an execution, and a step path: never given twice."""


@dataclass(frozen=True)
class Output:
    """What a process has answered, to what, and as whom."""

    step: StepKey
    attempt: int
    value: Mapping[str, object]
    plugin_id: str
    version: str
    operation: str
    given: bytes
    facts: Mapping[str, str]


@dataclass
class Effects:
    """`run_of` finds the store's name of the execution that has an id now, `on_record` how many attempts a step has."""

    run_of: Callable[[str, str], int | None] = lambda namespace, execution_id: None
    on_record: Callable[[StepKey], int] = lambda step: 0
    on_leaving: Callable[[StepKey], None] = lambda step: None
    is_served: Callable[[str, str], bool] = lambda plugin_id, version: True
    on_event: Callable[[StepKey], None] = lambda step: None
    calls: dict[str, StepKey] = field(default_factory=dict)
    """By traceparent, which no two attempts share."""
    sends: dict[StepKey, dict[int, int]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    refusals: dict[StepKey, dict[int, int]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    done: dict[StepKey, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    """Attempt and moment (nanoseconds) of every effect."""
    outputs: dict[int, Output] = field(default_factory=dict)
    """By the number in it."""

    def left(self, invocation: invocation_pb2.Invocation) -> None:
        """A call leaves the orchestrator."""
        key = self.run_of(invocation.namespace, invocation.execution_id)
        demand(key is not None, "on record", "an execution that nobody knows calls", invocation.execution_id)
        assert key is not None
        step = (key, invocation.step_path)
        recorded = self.on_record(step)
        demand(invocation.attempt <= recorded, "on record", f"attempt {invocation.attempt} of {step} is not written")
        self.calls[invocation.traceparent] = step
        self.sends[step][invocation.attempt] += 1
        self.on_leaving(step)

    def refused(self, invocation: invocation_pb2.Invocation) -> None:
        """It proved not to have begun."""
        self.refusals[self._step(invocation)][invocation.attempt] += 1

    def happened(self, invocation: invocation_pb2.Invocation, plugin_id: str, now: int) -> None:
        """A process has done it."""
        step = self._step(invocation)
        self.done[step].append((invocation.attempt, now))
        self.on_event(step)

    def answer(
        self, invocation: invocation_pb2.Invocation, plugin_id: str, version: str, facts: Mapping[str, str]
    ) -> dict[str, object]:
        """A new output, as the process will say it."""
        number = len(self.outputs) + 1
        value = {"of": invocation.step_path, "n": number, "by": plugin_id, **facts}
        step, attempt = self._step(invocation), invocation.attempt
        self.outputs[number] = Output(
            step, attempt, value, plugin_id, version, invocation.operation, invocation.input.data, facts
        )
        return value

    def _step(self, invocation: invocation_pb2.Invocation) -> StepKey:
        return self.calls[invocation.traceparent]

    def may_have_begun(self, step: StepKey, attempt: int) -> bool:
        """Whether a call of this attempt has left and was not refused."""
        return self.sends[step][attempt] > self.refusals[step][attempt]
