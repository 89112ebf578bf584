"""`forgemesh plugin call`."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from forgemesh.api.balancer.v1.snapshot_pb2 import Admission, CircuitState, Endpoint, Health
from forgemesh.api.plugin.v1.invocation_pb2 import Invocation, InvocationResult
from forgemesh.api.plugin.v1.plugin_service_pb2 import InvokeRequest
from forgemesh.api.plugin.v1.plugin_service_pb2_grpc import PluginServiceStub
from forgemesh.cli.arguments import input_of, seconds
from forgemesh.cli.command_line import CommandLine, Given
from forgemesh.cli.exits import BY_CODE, ExitCode
from forgemesh.cli.follow import show_bytes, show_result
from forgemesh.cli.plugin_prospect import Prospect, prospect_of, request_plugin
from forgemesh.cli.problem import Problem, usage
from forgemesh.cli.progress import duration
from forgemesh.cli.service_address import address_for_spans, addresses_of, why_closed
from forgemesh.cli.service_discovery import catalogue, never_published, published, snapshots
from forgemesh.cli.table import word
from forgemesh.client import Client
from forgemesh.client.failure import code_of_number
from forgemesh.client.payload import decoded, encoded
from forgemesh.client.peer import Peer
from forgemesh.client.tracing import call_span
from forgemesh.faults import Code
from forgemesh.faults.workflow import PayloadUnreadable

if TYPE_CHECKING:
    from forgemesh.api.errors.v1.failure_pb2 import Failure

_TIMEOUT = 60.0
_MARGIN = 1.0
_ARRIVAL = 3.0
_START = 60.0
_PERIOD = 0.1


async def call(
    operation: str,
    /,
    *pairs: str,
    file: Annotated[str | None, Parameter(name="--input")] = None,
    timeout: str | None = None,
    instance: str | None = None,
    line: Given,
) -> None:
    """
    Call one operation of a plugin, outside any workflow, and print what it returns.

    It goes to a healthy instance, the one with the fewest calls; a plugin that starts when it is called is started.
    Nothing is tried a second time. Exits with 1 if the operation fails.

    Examples:

        forgemesh plugin call shop.stock/reserve article=pencil number=2

        forgemesh plugin call shop.stock/reserve --input '{"article": "pencil"}' --timeout 5s

    Parameters
    ----------
    operation
        PLUGIN/OPERATION.
    pairs
        key=value of the input; the value is JSON if it reads as JSON, text otherwise.
    file
        The input as JSON: itself, a file that holds it, or - for stdin.
    timeout
        How long the operation may take, e.g. 500ms or 2m; else as long as its plugin says, else 60s.
    instance
        The instance to call, healthy or not.
    """
    plugin, slash, name = operation.partition("/")
    if not slash or not plugin or not name:
        raise usage(f"{operation!r} is not PLUGIN/OPERATION", hint="write it like shop.stock/reserve")
    value, said = input_of(pairs, file, ""), seconds(timeout, "--timeout")
    async with Client.connect(line.address) as mesh:
        addresses, traces = await addresses_of(mesh, "balancer", "registry"), await address_for_spans(mesh)
    endpoint = await _endpoint(plugin, instance, addresses)
    await _refuse_unreachable(endpoint)
    wait = said or await _usual_time(endpoint, plugin, name, addresses["registry"])
    async with call_span(plugin, name, traces) as span:
        invocation = Invocation(
            operation=name,
            input=encoded({} if value is None else value, "the input"),
            namespace=line.namespace,
            attempt=1,
            idempotency_key=f"call/{uuid.uuid4()}",
            remaining_millis=max(1, round(wait * 1000)),
            traceparent=span.traceparent or "",
            incarnation=endpoint.incarnation,
        )
        began = time.perf_counter()
        result = await _invoke(endpoint, invocation, wait)
        took = time.perf_counter() - began
        if result.HasField("failure"):
            span.failed(result.failure.reason, result.failure.message)
        traced = span.trace_id if span.traceparent else ""
    _tell(operation, endpoint, result, took, traced, line)


_NOT_CALLED = frozenset(
    {
        CircuitState.CIRCUIT_STATE_OPEN,
        CircuitState.CIRCUIT_STATE_HALF_OPEN,
        CircuitState.CIRCUIT_STATE_FORCED_OPEN,
    }
)


def pick(endpoints: Sequence[Endpoint]) -> Endpoint | None:
    """One of those that can be called and have the fewest calls; chance decides among equals."""
    able = [one for one in endpoints if not blocker(one)]
    fewest = min((one.in_flight for one in able), default=0)
    return random.choice([one for one in able if one.in_flight == fewest]) if able else None


def blocker(endpoint: Endpoint) -> str:
    """Why an instance gets no calls; empty if it does."""
    if endpoint.health != Health.HEALTH_SERVING:
        return ": ".join(filter(None, (word(Health.Name(endpoint.health), "HEALTH_"), endpoint.health_reason)))
    if endpoint.admission not in (Admission.ADMISSION_UNSPECIFIED, Admission.ADMISSION_OPEN):
        admission = word(Admission.Name(endpoint.admission), "ADMISSION_")
        return ": ".join(filter(None, (admission, endpoint.admission_reason)))
    if endpoint.circuit.state in _NOT_CALLED:
        state, cause = word(CircuitState.Name(endpoint.circuit.state), "CIRCUIT_STATE_"), endpoint.circuit.cause
        return f"its circuit is {cause if cause.startswith(state) else ': '.join(filter(None, (state, cause)))}"
    return "ejected: it does much worse than its siblings" if endpoint.ejected else ""


async def _endpoint(plugin: str, instance: str | None, addresses: dict[str, str]) -> Endpoint:
    """
    The instance to call.

    Waits a moment for one that has registered and whose health is not known yet, or that has registered meanwhile and
    is not ready yet, and longer for one that starts, because this call has asked for it or for another reason.
    """
    balancer, registry = addresses["balancer"], addresses["registry"]
    began, asked = time.monotonic(), False
    old: list[str] | None = None
    """Those that were there when this call came."""
    seen: list[str] = []
    while True:
        states = await snapshots(balancer, plugin)
        endpoints = [one for state in states if state.plugin_id == plugin for one in state.endpoints]
        found = pick([one for one in endpoints if instance in (None, one.instance_id)])
        if found is not None:
            return found
        manifests, instances = await catalogue(registry)
        if not any(one.plugin_id == plugin for one in manifests):
            raise never_published(plugin, manifests)
        registered = [one.instance_id for one in instances if one.plugin_id == plugin]
        old = registered if old is None else old
        if registered != seen:
            seen, began = registered, time.monotonic()
        if not registered and not asked:
            await request_plugin(registry, plugin)
            asked = True
        prospect = Prospect.UNKNOWN if registered else await prospect_of(plugin, addresses)
        patience = _START if prospect is Prospect.STARTING else _ARRIVAL
        coming = prospect is not Prospect.OUT if not registered else _coming(registered, old, endpoints)
        if not coming or time.monotonic() > began + patience:
            return _named(plugin, instance, endpoints)
        await asyncio.sleep(_PERIOD)


async def _usual_time(endpoint: Endpoint, plugin: str, operation: str, registry: str) -> float:
    """Seconds that the operation of this version may take when nobody says otherwise."""
    for manifest in await published(registry, plugin):
        for one in manifest.operations:
            if (manifest.version, one.name) == (endpoint.plugin_version, operation) and one.HasField("timeout"):
                return float(one.timeout.ToMilliseconds() / 1000)
    return _TIMEOUT


def _coming(registered: Sequence[str], old: Sequence[str], endpoints: Sequence[Endpoint]) -> bool:
    """Whether an instance has registered that nobody has asked yet how it is, or that may not have been ready then."""
    known = {one.instance_id for one in endpoints if one.health != Health.HEALTH_UNSPECIFIED}
    return any(instance not in known or instance not in old for instance in registered)


def _named(plugin: str, instance: str | None, endpoints: Sequence[Endpoint]) -> Endpoint:
    """The instance that was asked for, however it is; raises Problem if there is none, or if none was asked for."""
    if instance is None:
        raise _unavailable(plugin, endpoints)
    named = [one for one in endpoints if one.instance_id == instance]
    if not named:
        known = ", ".join(one.instance_id for one in endpoints) or "none"
        raise Problem(
            ExitCode.NOT_FOUND,
            f"no instance {instance!r} serves {plugin}",
            reason="INSTANCE_NOT_FOUND",
            code="NOT_FOUND",
            hint=f"its instances: {known}",
        )
    return named[0]


def _unavailable(plugin: str, endpoints: Sequence[Endpoint]) -> Problem:
    return Problem(
        ExitCode.UNREACHABLE,
        f"no instance of {plugin} can be called now" if endpoints else f"no instance serves {plugin} now",
        reason="NO_PROVIDER_AVAILABLE",
        code="UNAVAILABLE",
        details=[f"{one.instance_id}: {blocker(one)}" for one in endpoints],
        hint="see why with: forgemesh plugin hosts       or serve it: forgemesh plugin serve module:Class",
    )


async def _refuse_unreachable(endpoint: Endpoint) -> None:
    """Raise Problem if the instance has an address that leads nowhere from here, as those of pods do outside."""
    cause = await why_closed(endpoint.address)
    if cause:
        raise Problem(
            ExitCode.UNREACHABLE,
            f"cannot call instance {endpoint.instance_id}: {cause}",
            reason="SERVICE_UNREACHABLE",
            code="UNAVAILABLE",
            hint="call it from inside of the mesh's network, as a pod is, or through a workflow: forgemesh run",
        )


async def _invoke(endpoint: Endpoint, invocation: Invocation, wait: float) -> InvocationResult:
    peer = Peer(f"instance {endpoint.instance_id}", endpoint.address)
    async with peer.channel() as channel:
        stub = PluginServiceStub(channel)
        answer = await peer.call(stub.Invoke, InvokeRequest(invocation=invocation), deadline=wait + _MARGIN)
        return answer.result


def _tell(
    operation: str, endpoint: Endpoint, result: InvocationResult, took: float, trace: str, line: CommandLine
) -> None:
    facts: dict[str, Any] = {
        "instance": endpoint.instance_id,
        "version": endpoint.plugin_version,
        "seconds": round(took, 6),
        "ran_seconds": result.ran_micros / 1e6,
        "queued_seconds": result.queued_micros / 1e6,
        "trace_id": trace,
    }
    lasted = duration(round(took * 1e9))
    traced = f" · forgemesh trace show {trace}" if trace else ""
    if result.HasField("failure"):
        line.terminal.talk(f"✗ {lasted} · {endpoint.instance_id} {endpoint.plugin_version}{traced}")
        raise _failed(operation, endpoint, result.failure)
    line.terminal.talk(f"✓ {lasted} · {endpoint.instance_id} {endpoint.plugin_version}{traced}")
    try:
        output = decoded(result.output)
    except PayloadUnreadable as fault:
        show_bytes(result.output, line.terminal)
        raise _unreadable(operation, endpoint, fault) from fault
    if not line.terminal.json:
        show_result(output, line.terminal)
    else:
        line.terminal.value(facts | {"output": _json(output)})


def _unreadable(operation: str, endpoint: Endpoint, fault: PayloadUnreadable) -> Problem:
    """What a workflow would be told of such an output."""
    return Problem(
        ExitCode.FAILED,
        f"{operation} failed with OUTPUT_INVALID: what instance {endpoint.instance_id} returned cannot be read",
        reason="OUTPUT_INVALID",
        code=Code.INTERNAL.name,
        details=[f"{fault.metadata['media_type']}: {fault.metadata['cause']}"],
        hint=f"its log: forgemesh plugin logs {endpoint.instance_id}",
    )


def _json(output: Any) -> Any:
    """A payload that is no JSON as its message."""
    from google.protobuf.json_format import MessageToDict  # noqa: PLC0415 - wanted for -o json only
    from google.protobuf.message import Message  # noqa: PLC0415

    return MessageToDict(output, preserving_proto_field_name=True) if isinstance(output, Message) else output


def _failed(operation: str, endpoint: Endpoint, failure: Failure) -> Problem:
    plugin = operation.partition("/")[0]
    hints = {
        "INPUT_INVALID": f"what it takes: forgemesh plugin describe {plugin}",
        "OPERATION_NOT_FOUND": f"what it has: forgemesh plugin describe {plugin}",
        "PLUGIN_EXCEPTION": f"the traceback: forgemesh plugin logs {endpoint.instance_id}",
        "OUTPUT_INVALID": f"its log: forgemesh plugin logs {endpoint.instance_id}",
        "START_TO_CLOSE_TIMEOUT": "give it more time with --timeout",
    }
    code = code_of_number(failure.code)
    wrong = BY_CODE[code] if failure.reason in ("INPUT_INVALID", "OPERATION_NOT_FOUND") else ExitCode.FAILED
    again = "trying again can help" if failure.retryable else ""
    message, *details = failure.message.split("; ")
    return Problem(
        wrong,
        f"{operation} failed with {failure.reason}: {message}",
        reason=failure.reason,
        code=code.name,
        details=details,
        hint=hints.get(failure.reason, again),
    )
