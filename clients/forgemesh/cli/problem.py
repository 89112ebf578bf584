"""What a command says when it cannot do what it was asked to: one sentence, its cause, what to type next."""

from __future__ import annotations

import json
from collections.abc import Sequence

from forgemesh.chassis.foreign_text import printable
from forgemesh.cli.exits import BY_CODE, BY_REASON, ExitCode
from forgemesh.faults import Fault, code_of, reason_of
from forgemesh.faults.portable import PortableError


class Problem(PortableError):
    """
    Ends a command: `message` says what happened, `details` why, `hint` what to do next.

    `code` and `reason` are what programs match: a canonical code's name and a name that is never reused.
    """

    def __init__(
        self,
        exit_code: ExitCode,
        message: str,
        *,
        reason: str,
        code: str = "FAILED_PRECONDITION",
        details: Sequence[str] = (),
        hint: str = "",
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.message = message
        self.reason = reason
        self.code = code
        self.details = tuple(details)
        self.hint = hint

    def as_lines(self) -> list[str]:
        """The lines for people."""
        indented = [line for text in (*self.details, self.hint) for line in text.splitlines()]
        return [printable(line) for line in (f"error: {self.message}", *(f"  {line}" for line in indented))]

    def as_text(self) -> str:
        """The lines for people as one text."""
        return "".join(line + "\n" for line in self.as_lines())

    def as_value(self) -> dict[str, str]:
        """What programs read."""
        said = "\n".join((self.message, *self.details))
        return {"code": self.code, "reason": self.reason, "message": said, "hint": self.hint}

    def as_json(self) -> str:
        """One line for programs."""
        return json.dumps({"error": self.as_value()}, ensure_ascii=False) + "\n"


def usage(message: str, *details: str, hint: str = "", reason: str = "USAGE") -> Problem:
    """The command line, or a file that it names, is wrong."""
    return Problem(ExitCode.USAGE, message, reason=reason, code="INVALID_ARGUMENT", details=details, hint=hint)


def problem_of(fault: Fault) -> Problem:
    """A refusal by the mesh as a Problem; a fault says what happened and what to do, parted by semicolons."""
    code = code_of(fault)
    if fault.violations:
        first = f": {fault.violations[0].field}: "
        message, details, hint = (
            fault.message.partition(first)[0],
            [f"{violation.field}: {violation.message}" for violation in fault.violations],
            "",
        )
    else:
        message, *details = fault.message.split("; ")
        hint = details.pop() if details else ""
    reason = reason_of(fault)
    exit_code = BY_REASON.get(reason, BY_CODE[code])
    return Problem(exit_code, message, reason=reason, code=code.name, details=details, hint=hint)
