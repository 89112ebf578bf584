"""Whether all spans of an execution have arrived: they come from many processes, each in its own time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from forgemesh.api.traces.v1.span_pb2 import SPAN_STATUS_ERROR
from forgemesh.chassis.attributes import INSTANCE_ID, STEP_ATTEMPT, STEP_PATH
from forgemesh.cli.iteration_steps import ITERATED
from forgemesh.cli.progress import counted
from forgemesh.cli.trace_tree import summary

if TYPE_CHECKING:
    from forgemesh.api.orchestrator.v1.execution_pb2 import Execution
    from forgemesh.api.traces.v1.span_pb2 import Span


def missing(spans: Sequence[Span], execution: Execution | None) -> list[str]:
    """What cannot but be part of a trace, that of an execution that has ended or another one, and is not there."""
    return [*_orphans(spans), *(_steps(spans, execution) if execution is not None else ())]


def expected(spans: Sequence[Span], execution: Execution) -> list[str]:
    """
    What most likely still comes, in words.

    A plugin in another language may send no spans, and an iteration of a map in which every step is skipped has none.
    """
    return [*_iterations(spans, execution), *_calls(spans)]


def _orphans(spans: Sequence[Span]) -> Iterator[str]:
    orphans = summary(spans).orphans
    if orphans:
        yield f"the {'parent' if len(orphans) == 1 else 'parents'} of {counted(len(orphans), 'span')}"


def _steps(spans: Sequence[Span], execution: Execution) -> Iterator[str]:
    traced = {span.attributes.get(STEP_PATH, "") for span in spans}
    absent = [step.step_path for step in execution.steps if step.attempts and step.step_path not in traced]
    if absent:
        yield f"{counted(len(absent), 'step')} such as {absent[0]}"


def _iterations(spans: Sequence[Span], execution: Execution) -> Iterator[str]:
    seen: dict[str, set[str]] = defaultdict(set)
    for span in spans:
        parts = span.attributes.get(STEP_PATH, "").split("/")
        for place, part in enumerate(parts):
            if part.isdecimal():
                seen["/".join(parts[:place])].add(part)
    for step in execution.steps:
        absent = step.branches_succeeded + step.branches_failed - len(seen[step.step_path])
        if step.kind in ITERATED and absent > 0:
            yield f"{counted(absent, 'iteration' if step.kind == 'map' else 'round')} of {step.step_path}"


def _calls(spans: Sequence[Span]) -> Iterator[str]:
    """Those that an instance has answered, without the span of the instance."""
    parents = {span.parent_span_id for span in spans}
    absent = sum(
        span.kind == "CLIENT"  # the instance's own has the same attributes
        and STEP_ATTEMPT in span.attributes
        and INSTANCE_ID in span.attributes
        and span.status != SPAN_STATUS_ERROR
        and span.span_id not in parents
        for span in spans
    )
    if absent:
        yield f"what the plugins did in {counted(absent, 'call')}"
