"""A change of several steps as a value: what was, what is to be, and which of the two counts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Stage(Enum):
    """How far a change has come."""

    TRYING = "trying"  # what was before counts
    REPLACING = "replacing"  # what is new counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """JSON text and its number; `section` is what forgemesh.toml said when it was set."""

    text: str = ""
    revision: int = 0
    section: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """
    What is being changed about the plugin `name`.

    `old` are the instances that are to be replaced, None if none is. `states` is what they have left for those after
    them: one encoded SavedState each, empty for nothing.
    """

    name: str
    stage: Stage
    before: Configuration
    after: Configuration
    old: tuple[str, ...] | None = None
    states: tuple[bytes, ...] = ()

    @property
    def counts(self) -> Configuration:
        """The configuration that the plugin has when nothing more comes of the change."""
        return self.before if self.stage is Stage.TRYING else self.after

    @property
    def end(self) -> str:
        """What becomes of it when nothing more comes of it, for people."""
        return "it stays as it was" if self.stage is Stage.TRYING else "the new processes stay"

    def keeps(self, instance_id: str) -> bool:
        """Whether an instance stays when nothing more comes of the change."""
        return self.old is None or (instance_id in self.old) is (self.stage is Stage.TRYING)
