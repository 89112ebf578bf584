"""How a test plays the calls of one operation, or of one step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

from forgemesh.faults import Code
from forgemesh.plugin import OperationError
from forgemesh.testing.outcome import Call
from forgemesh.testing.span import Span, seconds_of

Answer: TypeAlias = Callable[[Call], Mapping[str, Any]]


@dataclass(slots=True)
class _Act:
    """How the next `left` calls are answered; None: as many as come until something else is scripted."""

    answer: Answer
    left: int | None
    takes: float


@dataclass(slots=True)
class Script:
    """
    Answers in the order in which they are written down, one after the other.

    One without `times` answers once if another follows it, and every call from then on if it is the last.
    """

    name: str
    _acts: list[_Act] = field(default_factory=list)

    def returns(self, value: Any = None, *, times: int | None = None, takes: Span = 0.0) -> Self:
        """
        The call succeeds with `value`, a JSON value, or with what `value(input, call)` returns if it can be called.

        Such a function may return `fails(...)` or raise an OperationError. `takes` is virtual time.
        """
        return self._add(lambda call: _result(value, call), times, takes)

    def fails(
        self,
        reason: str,
        message: str = "",
        *,
        code: Code = Code.FAILED_PRECONDITION,
        retryable: bool = False,
        retry_after: Span | None = None,
        metadata: Mapping[str, str] | None = None,
        times: int | None = None,
        takes: Span = 0.0,
    ) -> Self:
        """The call fails as a plugin's OperationError does."""
        error = fails(reason, message, code=code, retryable=retryable, retry_after=retry_after, metadata=metadata)
        return self._add(lambda call: _failure(error), times, takes)

    def never_answers(self, *, times: int | None = None) -> Self:
        """The plugin hangs: the step's timeouts decide."""
        return self._add(lambda call: {"silent": True}, times, 0.0)

    def dies(self, *, times: int | None = None, takes: Span = 0.0) -> Self:
        """The plugin's process ends during the call (HOST_LOST)."""
        return self._add(lambda call: {"dies": True}, times, takes)

    @property
    def then(self) -> Self:
        """Reads well between two answers."""
        return self

    def answer(self, call: Call) -> Mapping[str, Any] | None:
        """How the call is answered; None once the script is over."""
        while self._acts and self._acts[0].left == 0:
            del self._acts[0]
        if not self._acts:
            return None
        act = self._acts[0]
        if act.left is not None:
            act.left -= 1
        return {**act.answer(call), "takes": act.takes}

    def _add(self, answer: Answer, times: int | None, takes: Span) -> Self:
        if times is not None and times < 1:
            raise ValueError(f"times={times} answers nothing; take a number from 1")
        if self._acts and self._acts[-1].left is None:
            self._acts[-1].left = 1
        self._acts.append(_Act(answer, times, seconds_of(takes)))
        return self


def fails(
    reason: str,
    message: str = "",
    *,
    code: Code = Code.FAILED_PRECONDITION,
    retryable: bool = False,
    retry_after: Span | None = None,
    metadata: Mapping[str, str] | None = None,
) -> OperationError:
    """A failure for a function in a script to return or to raise."""
    pause = seconds_of(retry_after) if retry_after is not None else None
    return OperationError(
        reason,
        message or f"the script says {reason}",
        code=code,
        retryable=retryable,
        retry_after=pause,
        metadata=metadata,
    )


def _result(value: Any, call: Call) -> Mapping[str, Any]:
    if not callable(value):
        return {"output": value}
    try:
        output = value(call.input, call)
    except OperationError as error:
        return _failure(error)
    return _failure(output) if isinstance(output, OperationError) else {"output": output}


def _failure(error: OperationError) -> Mapping[str, Any]:
    return {
        "failure": {
            "code": error.code.name,
            "reason": error.reason,
            "message": error.message,
            "retryable": error.retryable,
            "retry_after": error.retry_after or 0.0,
            "metadata": error.metadata,
        }
    }
