"""What a workflow is: an immutable tree of steps, checked and compiled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from forgemesh.orchestrator.domain.retry import RetryRule
from forgemesh.orchestrator.domain.template import EMPTY, Computed, Template

OTHERWISE = "otherwise"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a plugin's operation; `start_to_close` is in seconds, `where` says where its text stands."""

    id: str
    plugin_id: str
    version_range: str
    operation: str
    input: Template = EMPTY
    retry: RetryRule = field(default_factory=RetryRule)
    start_to_close: float = 60.0
    where: str = field(default="", compare=False)

    kind = "call"


@dataclass(frozen=True, slots=True)
class Branch:
    """A named sequence of steps inside a group; `when` only in a switch."""

    name: str
    steps: tuple[Step, ...]
    when: Computed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """Its conditions are evaluated once, in order; the first true one's branch runs, else `otherwise`."""

    id: str
    branches: tuple[Branch, ...]
    no_match: Literal["fail", "skip"] = "fail"

    kind = "switch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallel:
    """All branches at once; the first failure, by time, stops the others."""

    id: str
    branches: tuple[Branch, ...]

    kind = "parallel"


Group: TypeAlias = Switch | Parallel
Step: TypeAlias = Call | Switch | Parallel


@dataclass(frozen=True, slots=True)
class InputField:
    """One declared input: a JSON type name, or "any"."""

    type: str
    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """
    A workflow, immutable by (namespace, name, version).

    `timeout` is in seconds; `input` is None if the definition declares nothing about it; `content_hash` is the
    SHA-256 of the definition's canonical JSON.
    """

    namespace: str
    name: str
    version: str
    content_hash: str
    source: str
    steps: tuple[Step, ...]
    output: Template
    description: str = ""
    input: Mapping[str, InputField] | None = None
    timeout: float | None = None

    def calls(self) -> Iterator[tuple[str, Call]]:
        """Every call with its step path, in order of declaration."""
        yield from _calls("", self.steps)


def _calls(prefix: str, steps: tuple[Step, ...]) -> Iterator[tuple[str, Call]]:
    for step in steps:
        path = f"{prefix}{step.id}"
        if isinstance(step, Call):
            yield path, step
        else:
            for branch in step.branches:
                yield from _calls(f"{path}/{branch.name}/", branch.steps)
