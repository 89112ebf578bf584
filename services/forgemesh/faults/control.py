"""Faults of what people ask of executions: what cannot be done now, and ends that somebody asked for."""

from __future__ import annotations

from collections.abc import Sequence

from forgemesh.faults.fault import Code, Fault


class ExecutionCancelled(Fault):
    code = Code.CANCELLED
    reason = "EXECUTION_CANCELLED"

    def __init__(self, execution_id: str, by: str, why: str) -> None:
        whom, because = (f" by {by}" if by else ""), (f": {why}" if why else "")
        super().__init__(
            f"execution {execution_id!r} was cancelled{whom}{because}",
            {"execution_id": execution_id, "by": by, "why": why},
        )


class ExecutionTerminated(Fault):
    code = Code.CANCELLED
    reason = "EXECUTION_TERMINATED"

    def __init__(self, execution_id: str, by: str, why: str) -> None:
        whom, because = (f" by {by}" if by else ""), (f": {why}" if why else "")
        super().__init__(
            f"execution {execution_id!r} was terminated{whom}{because}; nothing was undone",
            {"execution_id": execution_id, "by": by, "why": why},
        )


class ExecutionState(Fault):
    """What was asked for is not possible in the state in which the execution is."""

    code = Code.FAILED_PRECONDITION
    reason = "EXECUTION_STATE"

    def __init__(self, execution_id: str, action: str, status: str, hint: str) -> None:
        super().__init__(
            f"execution {execution_id!r} is {status} and cannot be {action}; {hint}",
            {"execution_id": execution_id, "action": action, "status": status, "hint": hint},
        )


class NoIncident(Fault):
    code = Code.FAILED_PRECONDITION
    reason = "NO_INCIDENT"

    def __init__(self, execution_id: str, step_path: str, waiting: Sequence[str]) -> None:
        listed = ", ".join(waiting)
        hint = f"those that do: {listed}" if waiting else "no step of it does"
        super().__init__(
            f"step {step_path!r} of execution {execution_id!r} does not wait for a person; {hint}",
            {"execution_id": execution_id, "step_path": step_path, "waiting": listed},
        )


class ExecutionSuperseded(Fault):
    """The run that was meant is not there any more; `current_run` has its id."""

    code = Code.NOT_FOUND
    reason = "EXECUTION_SUPERSEDED"

    def __init__(self, execution_id: str, run_id: str, current_run: str) -> None:
        super().__init__(
            f"no run {run_id} of execution {execution_id!r}; its id belongs to run {current_run} now, see"
            f" `forgemesh execution show {execution_id}@{current_run}`",
            {"execution_id": execution_id, "run_id": run_id, "current_run": current_run},
        )


class SignalIdReused(Fault):
    code = Code.ALREADY_EXISTS
    reason = "SIGNAL_ID_REUSED"

    def __init__(self, execution_id: str, signal_id: str) -> None:
        super().__init__(
            f"execution {execution_id!r} has had a signal with id {signal_id!r} and another name or payload; take a new"
            " signal id",
            {"execution_id": execution_id, "signal_id": signal_id},
        )


class TooManySignals(Fault):
    code = Code.RESOURCE_EXHAUSTED
    reason = "TOO_MANY_SIGNALS"

    def __init__(self, execution_id: str, limit: int) -> None:
        super().__init__(
            f"execution {execution_id!r} holds {limit} signals that no step has taken; send no more until it does",
            {"execution_id": execution_id, "limit": str(limit)},
            retry_after=1.0,
        )


class CheckpointNotFound(Fault):
    code = Code.NOT_FOUND
    reason = "CHECKPOINT_NOT_FOUND"

    def __init__(self, execution_id: str, checkpoint_id: str) -> None:
        super().__init__(
            f"execution {execution_id!r} has no checkpoint {checkpoint_id!r}; see"
            f" `forgemesh execution checkpoints {execution_id}`",
            {"execution_id": execution_id, "checkpoint_id": checkpoint_id},
        )


class CheckpointSuperseded(Fault):
    code = Code.FAILED_PRECONDITION
    reason = "CHECKPOINT_SUPERSEDED"

    def __init__(self, execution_id: str, checkpoint_id: str, newest: str) -> None:
        super().__init__(
            f"execution {execution_id!r} has gone on since checkpoint {checkpoint_id!r}, the newest is {newest!r}; to"
            f" start again from the older one: forgemesh execution fork {execution_id} --from {checkpoint_id}",
            {"execution_id": execution_id, "checkpoint_id": checkpoint_id, "newest": newest},
        )


class ConcurrencyExceeded(Fault):
    code = Code.CANCELLED
    reason = "CONCURRENCY_EXCEEDED"

    def __init__(self, execution_id: str, key: str, limit: int) -> None:
        super().__init__(
            f"execution {execution_id!r} gave way to another one: at most {limit} with concurrency key {key!r} run at"
            " once",
            {"execution_id": execution_id, "key": key, "limit": str(limit)},
        )


class ConcurrencyKeyInvalid(Fault):
    code = Code.INVALID_ARGUMENT
    reason = "CONCURRENCY_KEY_INVALID"

    def __init__(self, workflow: str, problem: str) -> None:
        super().__init__(
            f"the concurrency key of workflow {workflow!r} cannot be used with this input: {problem}; give an input"
            " from which `concurrency.key` makes a text, a number or another value that is not empty",
            {"workflow": workflow, "problem": problem},
        )


class ArchiveUnreadable(Fault):
    code = Code.FAILED_PRECONDITION
    reason = "ARCHIVE_UNREADABLE"

    def __init__(self, found: int, known: int) -> None:
        super().__init__(
            f"the exported execution has format {found}, this release knows {known}; import it with the release that"
            " exported it, or a newer one",
            {"found": str(found), "known": str(known)},
        )
