"""Why work failed, as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from forgemesh.faults import Code, Fault, code_of, reason_of

MAX_CAUSES = 100
"""How many failures are attached to one, on all levels together."""
MAX_DEPTH = 5
"""On how many levels."""
MAX_ATTACHED = 256 * 1024
"""Characters that they have together."""
_BRIEF = 1000


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
        """
        The same failure with the first of others attached to it.

        It is kept once more for every group around its step: where there is no room, those are attached in brief.
        """
        attached = [cause.pruned(MAX_DEPTH - 1) for cause in causes[:MAX_CAUSES]]
        everything = [failure for cause in attached for failure in cause.flat()]
        if len(everything) > MAX_CAUSES or sum(failure.length for failure in everything) > MAX_ATTACHED:
            attached = [replace(one.pruned(0), message=one.message[:_BRIEF], metadata={}) for one in attached]
        return replace(self, causes=tuple(attached))

    def brief(self, most: int) -> Failure:
        """The same failure in about that many bytes, without what is attached to it: one of many in an answer."""
        if not self.causes and self.length * 4 <= most:
            return self
        kept: dict[str, str] = {}
        room = most // 2
        for key, value in self.metadata.items():
            room -= len(key.encode()) + len(value.encode())
            if room >= 0:
                kept[key] = value
        message = self.message.encode()[: most // 2].decode(errors="ignore")
        return replace(self, message=message, metadata=kept, causes=())

    def pruned(self, depth: int) -> Failure:
        """Without what is attached to it on deeper levels than that."""
        if not self.causes:
            return self
        return replace(self, causes=tuple(cause.pruned(depth - 1) for cause in self.causes) if depth else ())

    def flat(self) -> Iterator[Failure]:
        """It, and all that is attached to it."""
        yield self
        for cause in self.causes:
            yield from cause.flat()

    @property
    def length(self) -> int:
        """Characters in its texts, without what is attached to it."""
        return len(self.message) + sum(len(key) + len(value) for key, value in self.metadata.items())


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
