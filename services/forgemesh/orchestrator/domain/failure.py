"""Why work failed, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from forgemesh.faults import Code, Fault, code_of, reason_of


@dataclass(frozen=True, slots=True)
class Failure:
    """See errors/v1/failure.proto; `retry_after` is in seconds, `causes` are the failures that this one sums up."""

    code: Code
    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    retryable: bool = False
    step_path: str = ""
    retry_after: float = 0.0
    causes: tuple[Failure, ...] = ()

    def at(self, step_path: str) -> Failure:
        """The same failure, said to have arisen at `step_path` unless it already says where."""
        return self if self.step_path else replace(self, step_path=step_path)

    def with_causes(self, causes: Sequence[Failure]) -> Failure:
        """The same failure with others attached to it."""
        return replace(self, causes=tuple(causes))


def failure_of(fault: Fault, *, retryable: bool = False, step_path: str = "") -> Failure:
    """A fault as data."""
    return Failure(
        code_of(fault),
        reason_of(fault),
        fault.message,
        fault.metadata,
        retryable,
        step_path,
        fault.retry_after or 0.0,
    )
