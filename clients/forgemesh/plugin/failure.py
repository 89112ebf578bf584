"""How an operation fails on purpose, and what is wrong with a plugin class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forgemesh.faults import Code
from forgemesh.faults.portable import PortableError


class OperationError(PortableError):
    """
    A failure that the operation means to report; it becomes the outcome of the step.

    `reason` is a name that programs may match ("FILE_NOT_FOUND"); it is never renamed. `retryable` says that trying
    again can help, `retry_after` (seconds) when. With the codes UNAVAILABLE, INTERNAL, UNKNOWN and DATA_LOSS the
    failure counts against the instance; with any other one the plugin did its work and the answer is no.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        retryable: bool = False,
        metadata: Mapping[str, str] | None = None,
        code: Code = Code.FAILED_PRECONDITION,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        if not reason or code is Code.OK:
            raise ValueError("an OperationError needs a reason and a code other than OK")
        self.reason = str(reason)
        self.message = str(message)
        self.retryable = retryable
        self.metadata = {str(key): str(value) for key, value in (metadata or {}).items()}
        self.code = Code(code)
        self.retry_after = retry_after


class OperationCancelled(Exception):
    """Raised by `Context.raise_if_cancelled`: nobody waits for the result any more."""


class PluginDefinitionError(PortableError):
    """A class cannot be served as a plugin; `mistakes` names everything that is wrong with it."""

    def __init__(self, subject: str, mistakes: Sequence[str]) -> None:
        super().__init__(f"{subject} is not a valid plugin:\n  " + "\n  ".join(mistakes))
        self.mistakes = tuple(mistakes)
