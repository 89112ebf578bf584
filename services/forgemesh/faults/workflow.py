"""Faults of the orchestrator: definitions, executions and what can fail in them."""

from __future__ import annotations

from collections.abc import Sequence

from forgemesh.faults.fault import Code, Fault, Violation


class DefinitionNotFound(Fault):
    code = Code.NOT_FOUND
    reason = "DEFINITION_NOT_FOUND"

    def __init__(self, name: str, version: str, known: Sequence[str]) -> None:
        what = f"{name!r} version {version}" if version else repr(name)
        listed = ", ".join(known)
        hint = f"; known: {listed}" if known else ""
        super().__init__(
            f"no workflow {what} is registered{hint}; register one with `forgemesh run FILE`",
            {"name": name, "version": version, "known": listed},
        )


class DefinitionInvalid(Fault):
    code = Code.INVALID_ARGUMENT
    reason = "DEFINITION_INVALID"

    def __init__(self, name: str, violations: Sequence[Violation]) -> None:
        listed = "; ".join(f"{v.field}: {v.message}" for v in violations)
        super().__init__(
            f"the definition {name!r} is not valid: {listed}" if name else f"the definition is not valid: {listed}",
            {"name": name, "violations": listed},
            violations=violations,
        )


class DefinitionConflict(Fault):
    code = Code.ALREADY_EXISTS
    reason = "DEFINITION_CONFLICT"

    def __init__(self, name: str, version: str, next_version: str) -> None:
        super().__init__(
            f"workflow {name!r} is registered as {version} with other content; definitions never change, so give"
            f" this one `version: {next_version}`",
            {"name": name, "version": version, "next_version": next_version},
        )


class ExecutionNotFound(Fault):
    code = Code.NOT_FOUND
    reason = "EXECUTION_NOT_FOUND"

    def __init__(self, execution_id: str, run_id: str = "") -> None:
        which = f"{execution_id}@{run_id}" if run_id else execution_id
        super().__init__(
            f"no execution {which!r}; see `forgemesh execution list`",
            {"execution_id": execution_id, "run_id": run_id} if run_id else {"execution_id": execution_id},
        )


class ExecutionExists(Fault):
    code = Code.ALREADY_EXISTS
    reason = "EXECUTION_EXISTS"

    def __init__(self, execution_id: str) -> None:
        super().__init__(
            f"execution {execution_id!r} exists already; take another id, or see it with"
            f" `forgemesh execution show {execution_id}`",
            {"execution_id": execution_id},
        )


class RequestIdReused(Fault):
    code = Code.ALREADY_EXISTS
    reason = "REQUEST_ID_REUSED"

    def __init__(self, request_id: str, execution_id: str = "") -> None:
        before = f"was answered with execution {execution_id!r}" if execution_id else "was answered before"
        super().__init__(
            f"request id {request_id!r} {before}, and asked for something else then; take a new request id",
            {"request_id": request_id, "execution_id": execution_id},
        )


class ExecutionInputInvalid(Fault):
    code = Code.INVALID_ARGUMENT
    reason = "EXECUTION_INPUT_INVALID"

    def __init__(self, workflow: str, violations: Sequence[Violation]) -> None:
        listed = "; ".join(f"{v.field}: {v.message}" for v in violations)
        super().__init__(
            f"the input does not fit workflow {workflow!r}: {listed}",
            {"workflow": workflow, "violations": listed},
            violations=violations,
        )


class PayloadTooLarge(Fault):
    code = Code.RESOURCE_EXHAUSTED
    reason = "PAYLOAD_TOO_LARGE"

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(
            f"{what} has {size} bytes, the mesh carries {limit}; pass a reference to the data instead",
            {"what": what, "size": str(size), "limit": str(limit)},
        )


class PayloadUnreadable(Fault):
    code = Code.DATA_LOSS
    reason = "PAYLOAD_UNREADABLE"

    def __init__(self, what: str, media_type: str, cause: str) -> None:
        super().__init__(
            f"{what} says that it is {media_type} and cannot be read: {cause}; its bytes are still there, see them with"
            " `forgemesh execution show`",
            {"what": what, "media_type": media_type, "cause": cause},
        )


class ExecutionSuspended(Fault):
    code = Code.UNAVAILABLE
    reason = "EXECUTION_SUSPENDED"

    def __init__(self, execution_id: str, set_aside: str = "") -> None:
        message = f"execution {execution_id!r} waits for its orchestrator to take it up again; it goes on by itself"
        if set_aside:
            see = f"end it by `forgemesh execution terminate {execution_id}`"
            message = f"execution {execution_id!r} is set aside: {set_aside}; {see}"
        super().__init__(message, {"execution_id": execution_id}, retry_after=None if set_aside else 0.5)


class ExpressionError(Fault):
    code = Code.FAILED_PRECONDITION
    reason = "EXPRESSION_ERROR"

    def __init__(self, source: str, cause: str) -> None:
        super().__init__(f"cannot evaluate `{source}`: {cause}", {"source": source, "cause": cause})


class NoCaseMatched(Fault):
    code = Code.FAILED_PRECONDITION
    reason = "NO_CASE_MATCHED"

    def __init__(self, step_path: str) -> None:
        super().__init__(
            f"no case of switch {step_path!r} was true; add an `otherwise` or say `no_match: skip`",
            {"step_path": step_path},
        )


class StartToCloseTimeout(Fault):
    code = Code.DEADLINE_EXCEEDED
    reason = "START_TO_CLOSE_TIMEOUT"

    def __init__(self, step_path: str, seconds: float) -> None:
        super().__init__(
            f"an attempt at {step_path!r} took longer than its start_to_close of {seconds:g} s",
            {"step_path": step_path, "seconds": f"{seconds:g}"},
        )


class HeartbeatTimeout(Fault):
    code = Code.DEADLINE_EXCEEDED
    reason = "HEARTBEAT_TIMEOUT"

    def __init__(self, step_path: str, seconds: float) -> None:
        super().__init__(
            f"an attempt at {step_path!r} said nothing for longer than its heartbeat of {seconds:g} s; its operation"
            " must report progress more often, or the step needs a longer `heartbeat`",
            {"step_path": step_path, "seconds": f"{seconds:g}"},
        )


class ScheduleToStartTimeout(Fault):
    code = Code.DEADLINE_EXCEEDED
    reason = "SCHEDULE_TO_START_TIMEOUT"

    def __init__(self, step_path: str, seconds: float, cause: str) -> None:
        super().__init__(
            f"an attempt at {step_path!r} could not leave within its schedule_to_start of {seconds:g} s: {cause}",
            {"step_path": step_path, "seconds": f"{seconds:g}", "cause": cause},
        )


class ScheduleToCloseTimeout(Fault):
    code = Code.DEADLINE_EXCEEDED
    reason = "SCHEDULE_TO_CLOSE_TIMEOUT"

    def __init__(self, step_path: str, seconds: float) -> None:
        super().__init__(
            f"step {step_path!r} took longer than its schedule_to_close of {seconds:g} s, all attempts and the pauses"
            " between them included",
            {"step_path": step_path, "seconds": f"{seconds:g}"},
        )


class ProcessFull(Fault):
    code = Code.RESOURCE_EXHAUSTED
    reason = "PROCESS_FULL"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the orchestrator has {limit} calls in flight, as many as it may have; the step goes on in its turn, or"
            " raise the orchestrator's `max_in_flight`",
            {"limit": str(limit)},
        )


class RetryBudgetSpent(Fault):
    code = Code.RESOURCE_EXHAUSTED
    reason = "RETRY_BUDGET_SPENT"

    def __init__(self, plugin: str, retries: int) -> None:
        super().__init__(
            f"{plugin!r} has {retries} retries under way, as many as its policy allows beside the calls that it has;"
            " the step goes on as soon as there are fewer, or raise the `retry_budget` of its policy",
            {"plugin": plugin, "retries": str(retries)},
        )


class ExecutionTimeout(Fault):
    code = Code.DEADLINE_EXCEEDED
    reason = "EXECUTION_TIMEOUT"

    def __init__(self, execution_id: str, seconds: float) -> None:
        super().__init__(
            f"execution {execution_id!r} took longer than its timeout of {seconds:g} s",
            {"execution_id": execution_id, "seconds": f"{seconds:g}"},
        )


class HostLost(Fault):
    """
    `begun`: whether the instance has said that the call runs; None where instances do not say that. `refuses_poison`:
    whether its successors know which calls ended it, and refuse those that do so again and again. `ending`: how its
    process ended, as far as that is known.
    """

    code = Code.UNAVAILABLE
    reason = "HOST_LOST"

    def __init__(
        self,
        instance_id: str,
        *,
        accepted: bool,
        begun: bool | None = None,
        refuses_poison: bool = False,
        ending: str = "",
    ) -> None:
        state = "while it had the call" if accepted else "before it said whether it took the call"
        if begun is False:
            state = "before it said that the call had begun"
        super().__init__(
            f"instance {instance_id!r} was lost {state}" + (f": {ending}" if ending else ""),
            {"instance_id": instance_id, "accepted": str(accepted).lower()}
            | ({} if begun is None else {"begun": str(begun).lower()})
            | ({"refuses_poison": "true"} if refuses_poison else {})
            | ({"ending": ending} if ending else {}),
        )


class OrchestratorLost(Fault):
    code = Code.UNAVAILABLE
    reason = "ORCHESTRATOR_LOST"

    def __init__(self, step_path: str, attempt: int, *, sent: bool = True) -> None:
        super().__init__(
            f"the orchestrator died while attempt {attempt} at {step_path!r} was open",
            {"step_path": step_path, "attempt": str(attempt), "sent": str(sent).lower()},
        )


class Cancelled(Fault):
    code = Code.CANCELLED
    reason = "CANCELLED"

    def __init__(self, step_path: str) -> None:
        super().__init__(f"{step_path!r} was cancelled by the end of what is around it", {"step_path": step_path})


class Interrupted(Fault):
    code = Code.CANCELLED
    reason = "INTERRUPTED"

    def __init__(self, step_path: str) -> None:
        super().__init__(
            f"{step_path!r} was taken back by a pause; it is tried again after it", {"step_path": step_path}
        )


class InDoubt(Fault):
    code = Code.ABORTED
    reason = "IN_DOUBT"

    def __init__(self, step_path: str, attempt: int, cause: str) -> None:
        super().__init__(
            f"whether attempt {attempt} at {step_path!r} took effect is not known ({cause}), and the step is not"
            " idempotent; look at its effect first",
            {"step_path": step_path, "attempt": str(attempt), "cause": cause},
        )


class LoopLimitReached(Fault):
    code = Code.FAILED_PRECONDITION
    reason = "LOOP_LIMIT_REACHED"

    def __init__(self, step_path: str, rounds: int, until: str) -> None:
        super().__init__(
            f"loop {step_path!r} has run the {rounds} rounds that its max_iterations allows, and {until!r} is still"
            " false; raise max_iterations, or say `on_limit: succeed` to go on with the output of the last round",
            {"step_path": step_path, "rounds": str(rounds), "until": until},
        )


class BranchesFailed(Fault):
    code = Code.ABORTED
    reason = "BRANCHES_FAILED"

    def __init__(
        self, step_path: str, failed: int, branches: int, failures: Sequence[str], quorum: int = 0, skipped: int = 0
    ) -> None:
        listed = "; ".join(failures[:10])
        more = f"; and {len(failures) - 10} more" if len(failures) > 10 else ""
        wanted = f", and {quorum} had to succeed" if quorum else ""
        nothing = f", {skipped} did nothing because their steps were skipped" if skipped else ""
        why = f": {listed}{more}" if failures else ""
        super().__init__(
            f"{failed} of {branches} branches of {step_path!r} failed{nothing}{wanted}{why}",
            {
                "step_path": step_path,
                "failed": str(failed),
                "branches": str(branches),
                "failures": listed,
                "quorum": str(quorum),
                "skipped": str(skipped),
            },
        )


class SignalTimeout(Fault):
    code = Code.DEADLINE_EXCEEDED
    reason = "SIGNAL_TIMEOUT"

    def __init__(self, step_path: str, signal: str, seconds: float) -> None:
        super().__init__(
            f"no signal {signal!r} came to {step_path!r} within its timeout of {seconds:g} s",
            {"step_path": step_path, "signal": signal, "seconds": f"{seconds:g}"},
        )


class ChildFailed(Fault):
    code = Code.ABORTED
    reason = "CHILD_FAILED"

    def __init__(self, step_path: str, child_id: str, status: str, cause: str) -> None:
        super().__init__(
            f"execution {child_id!r}, which step {step_path!r} waited for, ended {status}: {cause}; see"
            f" `forgemesh execution show {child_id}`",
            {"step_path": step_path, "child_id": child_id, "status": status, "cause": cause},
        )


class FamilyTooDeep(Fault):
    code = Code.FAILED_PRECONDITION
    reason = "FAMILY_TOO_DEEP"

    def __init__(self, step_path: str, workflow: str, limit: int) -> None:
        super().__init__(
            f"step {step_path!r} may not start the workflow {workflow!r}: its execution would be the"
            f" {limit + 1}th from the root down, and a family is at most {limit} deep (max_family_depth); a workflow"
            " that starts itself needs a `when` that ends that",
            {"step_path": step_path, "workflow": workflow, "limit": str(limit)},
        )


class FamilyTooLarge(Fault):
    code = Code.RESOURCE_EXHAUSTED
    reason = "FAMILY_TOO_LARGE"

    def __init__(self, step_path: str, workflow: str, limit: int) -> None:
        super().__init__(
            f"step {step_path!r} may not start the workflow {workflow!r}: {limit} executions of its family are open,"
            " and that is as many as may be (max_family_members); let some end first",
            {"step_path": step_path, "workflow": workflow, "limit": str(limit)},
        )
