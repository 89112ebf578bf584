"""Whether a group of branches has to end before all of them have, and with what."""

from __future__ import annotations

from forgemesh.faults.workflow import BranchesFailed
from forgemesh.orchestrator.execution.state import StepState
from forgemesh.orchestrator.values.failure import Failure, failure_of
from forgemesh.orchestrator.workflow.definition import Group, Join

BINARY = 0
"""Rules (see events.RULES) by which shares of branches were binary fractions."""


class Enough:
    """So many branches have succeeded that the others need not go on."""


ENOUGH = Enough()


def join_of(group: StepState) -> Join:
    """How its branches count."""
    assert isinstance(group.step, Group)
    return group.step.join


def tolerated(group: StepState, count: int, rules: int) -> int:
    """How many of the branches may fail."""
    join = join_of(group)
    if rules == BINARY and join.tolerate.endswith("%"):
        return int(count * float(join.tolerate[:-1]) / 100)
    return join.tolerated(count)


def must_stop(group: StepState) -> Failure | Enough | None:
    """The failure with which the group ends early, ENOUGH if it may end early and well, or None if it goes on."""
    branches, join = group.branches, join_of(group)
    assert branches is not None
    if join.mode == "quorum":
        if branches.succeeded >= join.quorum:
            return ENOUGH
        left = branches.count - branches.ended
        return summary(group) if branches.succeeded + left < join.quorum else None
    if not branches.failures or join.mode == "all_settled":
        return None
    return summary(group) if len(branches.failures) > branches.tolerated else None


def outcome(group: StepState) -> Failure | None:
    """Of a group that has ended by itself: why it failed, or None if it has not."""
    stop = must_stop(group)
    if isinstance(stop, Failure):
        return stop
    branches, join = group.branches, join_of(group)
    assert branches is not None
    if join.mode == "all_settled" and len(branches.failures) > branches.tolerated:
        return summary(group)
    return None


def summary(group: StepState) -> Failure:
    """All failures of a group as one: the first in time with the others attached, or a list of them."""
    branches, join = group.branches, join_of(group)
    assert branches is not None
    failures = list(branches.failures.values())
    if join.mode == "all" and branches.tolerated == 0:
        return failures[0] if len(failures) == 1 else failures[0].with_causes(failures[1:])
    named = [f"{name}: {failure.message}" for name, failure in branches.failures.items()]
    fault = BranchesFailed(group.path, len(failures), branches.count, named, join.quorum, branches.skipped)
    return failure_of(fault, step_path=group.path).with_causes(failures)
