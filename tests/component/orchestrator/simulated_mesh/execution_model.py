"""One execution of a simulated mesh, as its durable events and nothing else tell."""

from __future__ import annotations

from dataclasses import dataclass, field

from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.workflow.definition import Child, Definition
from tests.component.orchestrator.simulated_mesh.family_model import FamilyModel


@dataclass(eq=False)
class ExecutionModel:
    """One execution: its ledger, its place in its family, and what its events said."""

    key: int
    namespace: str
    execution_id: str
    definition: Definition
    run_id: str
    ledger: FamilyModel
    started: e.ExecutionStarted
    parent: ExecutionModel | None = None
    sequence: int = 0
    """Of its newest event that is durable."""
    began_at: int = 0
    came_at: int = 0
    """When its first event became durable, and when the first that an import does not share with its origin."""
    queued: bool = False
    holds: bool = False
    ended_at: int = 0
    """Position of its end."""
    stopped_at: dict[str, int] = field(default_factory=dict)
    """Position of the stop of each group, and of the whole."""
    children: dict[tuple[str, int], ExecutionModel] = field(default_factory=dict)
    output: bytes | None = None
    deleted: bool = False
    origin: ExecutionModel | None = None
    """What it was forked from."""
    effects_taken: set[str] = field(default_factory=set)
    ownerless: set[str] = field(default_factory=set)
    """Results that it took, of whose effects nobody is said to be the owner."""
    waits: dict[str, tuple[int, int]] = field(default_factory=dict)
    """In which life of the orchestrator each began, and when."""
    blocked: set[tuple[str, int]] = field(default_factory=set)
    """Attempts that wait for somebody to call."""
    brought: int = 0
    """Events that it has from elsewhere."""

    @property
    def name(self) -> str:
        return f"{self.execution_id} ({self.started.workflow})"

    @property
    def over(self) -> bool:
        return bool(self.ledger.over)

    def policy_of(self, child: ExecutionModel) -> str:
        """What its step says about a child of it whose wait ends."""
        assert child.started.origin is not None
        step = self.definition.step_at(child.started.origin.parent_path)
        return step.on_close if isinstance(step, Child) else "cancel"

    def waits_for(self, child: ExecutionModel) -> bool:
        """Whether the attempt that started the child is open."""
        origin = child.started.origin
        assert origin is not None
        return not self.over and self.ledger.open.get(origin.parent_path) == origin.parent_attempt
