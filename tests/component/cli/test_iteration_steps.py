"""`forgemesh execution show` of an execution that has forgotten what its iterations did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from forgemesh.api.orchestrator.v1.execution_pb2 import Execution, Step, StepStatus
from forgemesh.cli import execution_page
from forgemesh.cli.iteration_steps import MOST_STEPS
from tests.component.cli.typed import typing
from tests.component.client.script import RUNNING, Script

STEP_RUNNING = StepStatus.STEP_STATUS_RUNNING


@dataclass
class Mapped(Script):
    """Its execution has a map of three, of which the last one is under way and listed."""

    def execution(self) -> Execution:
        found = super().execution()
        found.sequence = self.length
        found.steps.append(Step(step_path="each", kind="map", status=STEP_RUNNING, branches=3, branches_succeeded=1))
        found.steps.append(Step(step_path="each/2/resize", kind="call", status=STEP_RUNNING))
        found.steps.append(Step(step_path="after", kind="call", status=STEP_RUNNING))
        return found


async def test_the_steps_of_iterations_that_are_over_are_listed() -> None:
    began, failure = {"attempt_started": {"attempt": 1}}, {"reason": "NO_MEMORY", "message": "too large"}
    turns: dict[int, dict[str, Any]] = {
        1: {"step_path": "each", "group_started": {"count": 3}},
        2: {"step_path": "each/0/resize", **began},
        3: {"step_path": "each/1/resize", **began},
        4: {"step_path": "each/2/resize", **began},
        5: {"step_path": "each/0/resize", "attempt_succeeded": {"attempt": 1, "dispatch": {"instance_id": "p-1"}}},
        6: {"step_path": "each/1/resize", "attempt_failed": {"attempt": 1, "failure": failure}},
        7: {"step_path": "each/1/resize", "step_failed": {"failure": failure}},
    }
    async with typing(Mapped(status=RUNNING, length=7, turns=turns)) as typed:
        await execution_page.show("x1", line=typed.line())

    table = typed.rows[typed.rows.index([]) + 2 :]
    assert [row[:3] for row in table] == [
        ["each", "map", "running"],
        ["each/0/resize", "call", "succeeded"],
        ["each/1/resize", "call", "failed"],
        ["each/2/resize", "call", "running"],
        ["after", "call", "running"],
    ]
    assert "NO_MEMORY," in table[2]


async def test_of_many_iterations_those_that_failed_are_listed_and_the_rest_is_told() -> None:
    turns: dict[int, dict[str, Any]] = {
        number: {"step_path": f"each/{number}/resize", "step_cancelled" if number == 50 else "result_taken": {}}
        for number in range(1, 61)
    }
    async with typing(Mapped(status=RUNNING, length=60, turns=turns)) as typed:
        await execution_page.show("x1", line=typed.line())

    table = typed.rows[typed.rows.index([]) + 2 :]
    assert len(table) == 3 + MOST_STEPS
    assert ["each/50/resize", "-", "cancelled"] in [row[:3] for row in table]
    assert "not all steps of iterations are listed: forgemesh execution watch x1" in typed.talk
