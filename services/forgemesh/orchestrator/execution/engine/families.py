"""Who belongs to whom among the executions in memory, and how many of a family are open."""

from __future__ import annotations

from collections import Counter

from forgemesh.faults import workflow
from forgemesh.orchestrator.execution.engine.open_executions import OpenExecutions
from forgemesh.orchestrator.execution.engine.running import Running
from forgemesh.orchestrator.execution.explain import Blocker
from forgemesh.orchestrator.execution.family import FamilyLimits, Kin, awaited_at, begun_as, kin_of, origin_of
from forgemesh.orchestrator.execution.state import ExecutionState, Status, StepState
from forgemesh.orchestrator.workflow.definition import Child


class Families:
    """Holds what the open executions themselves say; starts that are under way count as members."""

    def __init__(self, executions: OpenExecutions, limits: FamilyLimits) -> None:
        self._executions = executions
        self._limits = limits
        self._runs: dict[str, Running] = {}
        self._members: Counter[str] = Counter()
        self._under_way: dict[tuple[str, str], str] = {}

    def is_under_way(self, name: tuple[str, str]) -> bool:
        """Whether the start of an execution is in the queue of writes."""
        return name in self._under_way

    def count_start(self, parent: Running, step: StepState, name: tuple[str, str]) -> None:
        """A child of the step goes into the queue of writes; raises FamilyTooDeep or FamilyTooLarge."""
        assert isinstance(step.step, Child)
        root = parent.kin.root
        if parent.kin.generation >= self._limits.depth:
            raise workflow.FamilyTooDeep(step.path, step.step.workflow, self._limits.depth)
        if self._members[root] >= self._limits.members:
            raise workflow.FamilyTooLarge(step.path, step.step.workflow, self._limits.members)
        self._under_way[name] = root
        self._members[root] += 1

    def joined(self, running: Running) -> None:
        """An execution is in memory now."""
        if self._runs.get(running.state.run_id) is running:
            return
        if running.state.started is not None and running.state.started.origin is not None:
            running.kin = kin_of(running.state, self._kin_of_parent(running.state))
        self._runs[running.state.run_id] = running
        if running.heir:
            self._runs.setdefault(begun_as(running.state), running)
        self._members[running.kin.root] += 1

    def left(self, running: Running) -> None:
        """An execution is not in memory any more."""
        if self._runs.pop(running.state.run_id, None) is not None:
            self._one_less(running.kin.root)
        if running.heir and self._runs.get(begun_as(running.state)) is running:
            del self._runs[begun_as(running.state)]

    def written(self, namespace: str, execution_id: str) -> None:
        """A start is not under way any more, whether it was written or not."""
        root = self._under_way.pop((namespace, execution_id), None)
        if root is not None:
            self._one_less(root)

    def _one_less(self, root: str) -> None:
        self._members[root] -= 1
        if not self._members[root]:
            del self._members[root]

    def members(self, root: str) -> int:
        """How many executions of the family are open, those whose start is under way included."""
        return self._members[root]

    def _kin_of_parent(self, state: ExecutionState) -> Kin | None:
        origin = origin_of(state)
        parent = self._runs.get(origin.parent_run) or self._executions.find(state.namespace, origin.parent_id)
        return parent.kin if parent is not None else None

    def parent_of(self, child: Running) -> Running | None:
        """The execution that waits for the child, if it is in memory: its parent, or an import of that."""
        origin = origin_of(child.state)
        if not origin.parent_id:
            return None
        by_run = self._runs.get(child.parent_run)
        by_name = self._executions.known(child.state.namespace, origin.parent_id)
        for parent in (by_run, by_name):
            if parent is not None and _may_be_parent(parent, child) and awaited_at(parent.state, child.state):
                return parent
        return None

    def waited_for(self, running: Running) -> list[tuple[StepState, Running | None]]:
        steps = [step for step in running.state.open_attempts.values() if isinstance(step.step, Child)]
        return [(step, self.child_at(running, step)) for step in steps]

    def child_at(self, running: Running, step: StepState) -> Running | None:
        """The child of the step's newest attempt, if it is open and in memory or about to be taken up."""
        if step.started is None or not step.started.child_id:
            return None
        child = self._executions.known(running.state.namespace, step.started.child_id)
        return child if child is not None and child.open and _may_be_parent(running, child) else None

    def is_suspended(self, child: Running) -> bool:
        return (child.state.namespace, origin_of(child.state).parent_id) in self._executions.suspended

    def explain(self, running: Running) -> dict[str, Blocker]:
        """What becomes of the children that the execution waits for, by step path."""
        found = {}
        for step, child in self.waited_for(running):
            assert step.started is not None
            message = self._told(running, step.started.child_id, child)
            found[step.path] = Blocker(step_path=step.path, reason="CHILD", message=message, since=step.began_at)
        return found

    def _told(self, running: Running, child_id: str, child: Running | None) -> str:
        name = (running.state.namespace, child_id)
        if child is not None:
            return f"execution {child_id!r} {_DOES.get(child.state.status, 'runs')}; {_see(child_id)}"
        if name in self._executions.suspended:
            return f"execution {child_id!r} is suspended: nobody runs it at the moment; {_see(child_id)}"
        if name in self._under_way:
            return f"execution {child_id!r} is being started"
        if running.state.pause is not None:
            return f"execution {child_id!r} is not there yet: it is started once this one is resumed"
        return f"execution {child_id!r} is not there yet: it is being looked for, or its start is tried again"


_DOES = {
    Status.QUEUED: "waits for a place under its concurrency key",
    Status.PAUSING: "is pausing",
    Status.PAUSED: "is paused",
    Status.CANCELLING: "is being cancelled",
    Status.COMPENSATING: "undoes what it did",
}


def _see(child_id: str) -> str:
    return f"see `forgemesh execution explain {child_id}`"


def _may_be_parent(parent: Running, child: Running) -> bool:
    """Whether the child was started by this run; of an import, by the run that this one has taken the place of."""
    if child.state.imported:
        return parent.heir and child.parent_run == begun_as(parent.state)
    return child.parent_run in ("", parent.state.run_id)
