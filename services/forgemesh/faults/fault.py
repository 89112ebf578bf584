"""A Fault is a refusal that crosses the wire: a canonical code, one reason, and every varying word as metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Self

from forgemesh.faults.portable import PortableError


class Code(IntEnum):
    """The canonical gRPC status codes, by number."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong with a request: where, and what to do about it."""

    field: str
    message: str


class Fault(PortableError):
    """
    Raised where a request is refused; knows no transport.

    A subclass names its `code` and its `reason`, which equals an ErrorReason of the API without its prefix.
    `retry_after` (seconds) is set when we know when a retry can work.
    """

    code: ClassVar[Code] = Code.UNKNOWN
    reason: ClassVar[str] = ""
    by_reason: ClassVar[dict[str, type[Fault]]] = {}

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.reason:
            return
        if cls.by_reason.setdefault(cls.reason, cls) is not cls:
            raise TypeError(f"reason {cls.reason} belongs to {cls.by_reason[cls.reason].__name__} already")

    def __init__(
        self,
        message: str,
        metadata: Mapping[str, str] | None = None,
        *,
        violations: Sequence[Violation] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after = retry_after

    @classmethod
    def rebuild(
        cls,
        message: str,
        metadata: Mapping[str, str],
        violations: Sequence[Violation] = (),
        retry_after: float | None = None,
    ) -> Self:
        """The fault as its raiser made it, from what crossed the wire."""
        fault = cls.__new__(cls)
        Fault.__init__(fault, message, metadata, violations=violations, retry_after=retry_after)
        return fault


class ForeignFault(Fault):
    """A refusal by a peer whose reason this release does not know; code and reason are kept as they came."""

    def __init__(
        self,
        code: Code,
        reason: str,
        message: str,
        metadata: Mapping[str, str] | None = None,
        *,
        violations: Sequence[Violation] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, metadata, violations=violations, retry_after=retry_after)
        self.foreign_code = code
        self.foreign_reason = reason


def code_of(fault: Fault) -> Code:
    """The canonical code of any fault, a foreign one included."""
    return fault.foreign_code if isinstance(fault, ForeignFault) else fault.code


def reason_of(fault: Fault) -> str:
    """The reason of any fault, a foreign one included."""
    return fault.foreign_reason if isinstance(fault, ForeignFault) else fault.reason
