"""What went wrong, as a caller meets it: an execution that ended badly, a request among many that was refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from forgemesh.client.status import Status
from forgemesh.faults import Code, Fault, ForeignFault
from forgemesh.faults.portable import PortableError

if TYPE_CHECKING:
    from forgemesh.api.errors.v1.failure_pb2 import Failure

_HOW = {
    Status.CANCELLED: "was cancelled",
    Status.TERMINATED: "was terminated",
    Status.TIMED_OUT: "timed out",
    Status.COMPENSATED: "failed and was undone",
    Status.COMPENSATION_FAILED: "failed and could not be undone",
}


class ExecutionFailed(PortableError):
    """
    The execution did not end well: `status` says how, `failure` why, as programs and people read it.

    `left_to_do` are the steps whose effects were not undone, the next one to undo first.
    """

    def __init__(
        self,
        execution_id: str,
        failure: Failure,
        status: Status = Status.FAILED,
        left_to_do: Sequence[str] = (),
    ) -> None:
        self.execution_id = execution_id
        self.failure = failure
        self.status = status
        self.left_to_do = tuple(left_to_do)
        place = f" at {failure.step_path!r}" if failure.step_path else ""
        super().__init__(f"execution {execution_id!r} {self.how}{place}: {failure.message}")

    @property
    def how(self) -> str:
        """How it ended, as a verb: "failed", "was cancelled"."""
        return _HOW.get(self.status, "failed")

    @property
    def code(self) -> Code:
        """The canonical code of what went wrong."""
        return code_of_number(self.failure.code)

    @property
    def reason(self) -> str:
        """A name that programs may match."""
        return self.failure.reason

    @property
    def message(self) -> str:
        """What happened, for people."""
        return self.failure.message

    @property
    def step_path(self) -> str:
        """The step where it arose; empty if the execution as a whole failed."""
        return self.failure.step_path


def code_of_number(number: int) -> Code:
    """The canonical code; UNKNOWN for a number that is none, whoever sent it."""
    return Code(number) if number in Code._value2member_map_ else Code.UNKNOWN


def refusal(failure: Failure) -> Fault:
    """The fault with which one of many was refused, as the same class; a ForeignFault if its reason is not known."""
    retry_after = failure.retry_after_millis / 1000 or None
    known = Fault.by_reason.get(failure.reason)
    if known is not None:
        return known.rebuild(failure.message, failure.metadata, retry_after=retry_after)
    return ForeignFault(
        code_of_number(failure.code), failure.reason, failure.message, failure.metadata, retry_after=retry_after
    )
