"""Which variables an expression may name from where it stands."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

STEP_FACTS = ("output", "status", "error")


@dataclass(frozen=True, slots=True)
class EndedSteps:
    """Of a sequence, the steps that have ended when an expression is evaluated: `ended` has bit i for step i."""

    indexes: Mapping[str, int]
    ended: int

    def has(self, step_id: str) -> bool:
        index = self.indexes.get(step_id)
        return index is not None and bool(self.ended >> index & 1)

    def ids(self) -> Iterator[str]:
        return (step_id for step_id, index in self.indexes.items() if self.ended >> index & 1)


@dataclass(frozen=True, slots=True)
class NameScope(Collection[str]):
    """
    Plain names such as "input", "vars.total" or "item", and `steps.<id>.<fact>` of the steps within reach.

    An id means the step of the nearest sequence that has one of this name, also if that has not ended yet.
    """

    names: frozenset[str]
    reaches: tuple[EndedSteps, ...] = ()
    own: frozenset[str] = field(default=frozenset())

    def __contains__(self, variable: object) -> bool:
        if not isinstance(variable, str):
            return False
        if variable in self.names:
            return True
        head, _, rest = variable.partition(".")
        step_id, _, fact = rest.partition(".")
        if head != "steps" or fact not in STEP_FACTS:
            return False
        nearest = self._nearest(step_id)
        return step_id in self.own or (nearest is not None and nearest.has(step_id))

    def __iter__(self) -> Iterator[str]:
        yield from sorted(self.names)
        for step_id in self.step_ids():
            yield from (f"steps.{step_id}.{fact}" for fact in STEP_FACTS)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def step_ids(self) -> Iterator[str]:
        """The steps within reach, the nearest sequence first."""
        yield from self.own
        for reach in self.reaches:
            yield from (
                step_id for step_id in reach.ids() if step_id not in self.own and self._nearest(step_id) is reach
            )

    def _nearest(self, step_id: str) -> EndedSteps | None:
        return next((reach for reach in self.reaches if step_id in reach.indexes), None)

    def within(self, reach: EndedSteps) -> NameScope:
        """From inside a sequence, what is within `reach` there counts too."""
        return NameScope(self.names, (reach, *self.reaches), self.own)

    def plus(self, *names: str) -> NameScope:
        """With further plain names."""
        return NameScope(self.names | set(names), self.reaches, self.own)

    def minus(self, *names: str) -> NameScope:
        """Without some plain names."""
        return NameScope(self.names - set(names), self.reaches, self.own)

    def with_step(self, step_id: str) -> NameScope:
        """With the step itself."""
        return NameScope(self.names, self.reaches, self.own | {step_id})
