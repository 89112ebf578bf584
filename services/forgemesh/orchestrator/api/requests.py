"""Requests of the orchestrator's API as the values that its use cases take, or refusals with every violation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any, Literal

from forgemesh.api.orchestrator.v1 import control_pb2, execution_pb2, orchestrator_service_pb2 as pb
from forgemesh.api.payload.v1 import payload_pb2
from forgemesh.chassis.pages import key_before
from forgemesh.chassis.trace_context import parse_traceparent
from forgemesh.faults import Violation
from forgemesh.faults.service import InvalidRequest
from forgemesh.faults.workflow import PayloadTooLarge
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.commands.starts import CallerTrace, StartRequest
from forgemesh.orchestrator.execution.ports.lists import ExecutionFilter, ExecutionOrder
from forgemesh.orchestrator.execution.ports.starts import IdReuse
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.values.identifiers import is_run_id
from forgemesh.orchestrator.values.payload import EMPTY_OBJECT, NULL, Payload, misread
from forgemesh.orchestrator.values.retry import SECOND
from forgemesh.orchestrator.wire.payloads import optional_payload, payload_from_message

DEFAULT_NAMESPACE = "default"
MAX_PRIORITY = 1000
_YEAR_1, _YEAR_10000 = -62_135_596_800, 253_402_300_800
_LATEST = 2**63 - 1
"""Nanoseconds."""
MAX_ARCHIVE = 512 * 1024 * 1024
"""Bytes of an exported execution that are taken over."""
MAX_TEXT = 1000
"""Characters of who asks, and why."""

_REUSE = {
    pb.ID_REUSE_POLICY_UNSPECIFIED: IdReuse.REJECT_DUPLICATE,
    pb.ID_REUSE_POLICY_REJECT_DUPLICATE: IdReuse.REJECT_DUPLICATE,
    pb.ID_REUSE_POLICY_ALLOW_DUPLICATE: IdReuse.ALLOW_DUPLICATE,
    pb.ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY: IdReuse.ALLOW_DUPLICATE_FAILED_ONLY,
}
_CONFLICT: dict[int, Literal["fail", "use_existing", "terminate_existing"]] = {
    pb.ID_CONFLICT_POLICY_UNSPECIFIED: "fail",
    pb.ID_CONFLICT_POLICY_FAIL: "fail",
    pb.ID_CONFLICT_POLICY_USE_EXISTING: "use_existing",
    pb.ID_CONFLICT_POLICY_TERMINATE_EXISTING: "terminate_existing",
}
_ORDER: dict[int, ExecutionOrder] = {
    pb.EXECUTION_ORDER_UNSPECIFIED: ExecutionOrder.STARTED_DESCENDING,
    pb.EXECUTION_ORDER_STARTED_DESCENDING: ExecutionOrder.STARTED_DESCENDING,
    pb.EXECUTION_ORDER_STARTED_ASCENDING: ExecutionOrder.STARTED_ASCENDING,
    pb.EXECUTION_ORDER_ENDED_DESCENDING: ExecutionOrder.ENDED_DESCENDING,
    pb.EXECUTION_ORDER_ENDED_ASCENDING: ExecutionOrder.ENDED_ASCENDING,
}
_ACTIONS: dict[int, Literal["retry", "complete", "fail"]] = {
    control_pb2.INCIDENT_ACTION_RETRY: "retry",
    control_pb2.INCIDENT_ACTION_COMPLETE: "complete",
    control_pb2.INCIDENT_ACTION_FAIL: "fail",
}
_STATUS: dict[int, Status] = {
    execution_pb2.ExecutionStatus.Value(f"EXECUTION_STATUS_{status.value}"): status for status in Status
}


def namespace_of(request: Any) -> str:
    """Empty means "default"."""
    return str(request.namespace or DEFAULT_NAMESPACE)


def named(request: Any) -> tuple[str, str, str]:
    """
    Namespace, id and run (empty: whichever has the id) of the execution that a request names, also as ID@RUN.

    Raises InvalidRequest if it names two runs, or something else than a run.
    """
    execution_id, run_id = _named(request.execution_id, request.run_id, "run_id")
    return namespace_of(request), execution_id, run_id


def which_of(execution_ids: Iterable[str]) -> list[tuple[str, str]]:
    """Ids and runs of what comes as ID or ID@RUN; raises InvalidRequest."""
    return [_named(one, "", "execution_ids") for one in execution_ids]


def _named(execution_id: str, run_id: str, field: str) -> tuple[str, str]:
    """An id and a run of which the former may hold the latter."""
    bare, at, behind = execution_id.partition("@")
    if at and behind != run_id and run_id:
        raise InvalidRequest([Violation(field, f"{run_id!r:.80} is another run than that of {execution_id!r:.300}")])
    run = behind if at else run_id
    if (at or run) and not is_run_id(run):
        message = "is no run: a run has 26 digits and lower-case letters"
        raise InvalidRequest([Violation(field, f"{run!r:.80} {message}")])
    return bare, run


def payload_of(message: Any, field: str, default: Payload | None, *, place: str = "") -> Payload | None:
    """
    The payload in a field of the message; `default` if it is not set.

    Raises InvalidRequest for one that says that it is JSON and is none; `place` is the field's name in the whole
    request, if it has another one there.
    """
    if not message.HasField(field):
        return default
    found: payload_pb2.Payload = getattr(message, field)
    payload = payload_from_message(found)
    cause = misread(payload)
    if cause:
        raise InvalidRequest([Violation(place or field, cause)])
    return payload


def start_of(request: pb.StartExecutionRequest, caller: CallerTrace | None) -> StartRequest:
    """Raises InvalidRequest for policies and priorities that do not exist."""
    violations = [
        Violation(name, f"{number} is no policy that this release knows")
        for name, number, known in (
            ("id_reuse_policy", request.id_reuse_policy, _REUSE),
            ("id_conflict_policy", request.id_conflict_policy, _CONFLICT),
        )
        if number not in known
    ]
    if abs(request.priority) > MAX_PRIORITY:
        violations.append(
            Violation("priority", f"{request.priority} is not between -{MAX_PRIORITY} and {MAX_PRIORITY}")
        )
    if violations:
        raise InvalidRequest(violations)
    return StartRequest(
        namespace=namespace_of(request),
        workflow=request.workflow,
        version=request.workflow_version,
        execution_id=request.execution_id,
        request_id=request.request_id,
        input=optional_payload(request, "input") or EMPTY_OBJECT,  # the definition decides what it may be
        wait=max(0, request.wait_millis) / 1000,
        caller=caller,
        reuse=_REUSE[request.id_reuse_policy],
        conflict=_CONFLICT[request.id_conflict_policy],
        priority=request.priority,
        signal=signal_of(request.signal, "") if request.HasField("signal") else None,
        paused=request.paused,
    )


def fork_of(request: control_pb2.ForkExecutionRequest, caller: CallerTrace | None) -> StartRequest:
    """What the fork is to be, its workflow and input apart."""
    return StartRequest(
        namespace=namespace_of(request),
        workflow="",
        version=request.workflow_version,
        execution_id=request.new_execution_id,
        request_id=request.request_id,
        input=EMPTY_OBJECT,
        caller=caller,
    )


def signal_of(message: control_pb2.Signal, by: str) -> e.SignalReceived:
    """A signal without a payload brings null."""
    return e.SignalReceived(
        message.name,
        payload_of(message, "payload", NULL, place="signal.payload") or NULL,
        message.signal_id,
        text_of(by),
    )


def pause_of(request: control_pb2.PauseExecutionRequest) -> e.PauseRequested:
    """Raises InvalidRequest for a mode that does not exist."""
    if request.mode not in control_pb2.PauseMode.values():
        raise InvalidRequest([Violation("mode", f"{request.mode} is no mode that this release knows")])
    return e.PauseRequested(
        by=text_of(request.by),
        reason=text_of(request.reason),
        interrupt=request.mode == control_pb2.PAUSE_MODE_INTERRUPT,
        hold_clock=request.hold_clock,
    )


def incident_action_of(number: int) -> Literal["retry", "complete", "fail"]:
    """Raises InvalidRequest for an action that does not exist."""
    if number not in _ACTIONS:
        raise InvalidRequest([Violation("action", "must be RETRY, COMPLETE or FAIL")])
    return _ACTIONS[number]


def filter_of(namespace: str, asked: control_pb2.ExecutionFilter, workflow: str, status: int) -> ExecutionFilter:
    """Raises InvalidRequest for statuses and moments that do not exist."""
    numbers = [*asked.statuses, *([status] if status else [])]
    unknown = [number for number in numbers if number not in _STATUS]
    violations = [Violation("statuses", f"{number} is no status that this release knows") for number in unknown]
    for name in ("started_from", "started_before"):
        stamp = getattr(asked, name)
        if not (_YEAR_1 <= stamp.seconds < _YEAR_10000 and 0 <= stamp.nanos < SECOND):
            violations.append(Violation(name, "is no moment of the years 1 to 9999"))
    if violations:
        raise InvalidRequest(violations)
    parent_id, parent_run = _named(asked.parent_execution_id, asked.parent_run_id, "parent_run_id")
    schedule_id, incarnation = _named(asked.schedule_id, asked.schedule_incarnation_id, "schedule_incarnation_id")
    started_from = asked.started_from if asked.HasField("started_from") else None
    started_before = asked.started_before if asked.HasField("started_before") else None
    return ExecutionFilter(
        namespace=namespace,
        workflows=(*asked.workflows, *([workflow] if workflow else [])),
        statuses=tuple(_STATUS[number] for number in numbers),
        open_only=asked.open_only,
        id_prefix=asked.id_prefix,
        started_from=_nanos(started_from),
        started_before=_nanos(started_before),
        parent_id=parent_id,
        parent_run=parent_run,
        schedule_incarnation=incarnation,
        schedule_id=schedule_id,
        concurrency_key=asked.concurrency_key,
        incidents_only=asked.incidents_only,
        workflow_version=asked.workflow_version,
    )


def order_of(number: int) -> ExecutionOrder:
    """Raises InvalidRequest for an order that does not exist."""
    if number not in _ORDER:
        raise InvalidRequest([Violation("order", f"{number} is no order that this release knows")])
    return _ORDER[number]


def caller_of(context: Any) -> CallerTrace | None:
    """The caller's span, if the call says it."""
    for key, value in context.invocation_metadata() or ():
        if key == "traceparent":
            return caller_named(value if isinstance(value, str) else value.decode("ascii", "replace"))
    return None


def caller_named(traceparent: str) -> CallerTrace | None:
    """The caller's span by its W3C trace context; None for what is none."""
    parent = parse_traceparent(traceparent) if traceparent else None
    return CallerTrace(parent.trace_id, parent.span_id, parent.sampled) if parent is not None else None


def text_of(given: str) -> str:
    """Who or why, for the history: one line of bounded length."""
    return " ".join(given.split())[:MAX_TEXT]


def _nanos(moment: Any) -> int:
    """What a store can hold: moments before 1678 and after 2261 are before and after every execution."""
    nanos = moment.seconds * SECOND + moment.nanos if moment is not None else 0
    return max(-_LATEST, min(nanos, _LATEST))


def point_before(token: str) -> tuple[int, str]:
    """
    The number after which a page starts and the run that it is of; 0 and nothing for the first page.

    Raises InvalidRequest for a foreign token.
    """
    key = key_before(token, 2)
    if key is None:
        return 0, ""
    if not key[0].isdecimal() or len(key[0]) > 18 or not is_run_id(key[1]):
        raise InvalidRequest([Violation("page_token", "must come from an earlier response")])
    return int(key[0]), key[1]


def addressed(request: Any, kind: str | None, namespace: str, execution_id: str, run_id: str) -> Any:
    """One execution's copy of what is asked of many; raises InvalidRequest if nothing is."""
    if kind is None:
        raise InvalidRequest([Violation("action", "say what is to be done: pause, resume, cancel, ...")])
    copy = type(request)()
    copy.CopyFrom(request)
    copy.namespace, copy.execution_id, copy.run_id = namespace, execution_id, run_id
    return copy


async def gathered(pieces: AsyncIterator[control_pb2.ImportExecutionRequest]) -> tuple[str, str, bytes]:
    """Namespace, id and content of a file that comes in pieces; raises PayloadTooLarge."""
    namespace, execution_id = DEFAULT_NAMESPACE, ""
    chunks: list[bytes] = []
    size = 0
    async for piece in pieces:
        if not chunks:
            namespace, execution_id = namespace_of(piece), piece.execution_id
        chunks.append(piece.chunk)
        size += len(piece.chunk)
        if size > MAX_ARCHIVE:
            raise PayloadTooLarge("the exported execution", size, MAX_ARCHIVE)
    return namespace, execution_id, b"".join(chunks)
