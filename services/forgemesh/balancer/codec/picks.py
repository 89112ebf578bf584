"""Picks between the API and the domain."""

from __future__ import annotations

from forgemesh.api.balancer.v1 import balancer_service_pb2 as pb
from forgemesh.balancer.codec.events import LONGEST_NAME
from forgemesh.balancer.domain.picks import LONGEST_LEASE, Choice, Ended, Wish
from forgemesh.chassis.violations import Violations
from forgemesh.faults import Code
from forgemesh.feed.policies import POLICY
from forgemesh.feed.snapshots import endpoint_to_message
from forgemesh.notation.version_range import LONGEST as LONGEST_RANGE, InvalidRange, VersionRange
from forgemesh.routing.outcome import CallFailure
from forgemesh.routing.pick_explanation import PickExplanation

LONGEST_KEY = 512
LONGEST_MESSAGE = 1000
_LONGEST_MILLIS = round(LONGEST_LEASE * 1000)


def wish(request: pb.PickRequest) -> Wish:
    """What a caller asks for; raises InvalidRequest."""
    found = Violations()
    named = 0 < len(request.plugin_id) <= LONGEST_NAME
    found.unless(named, "plugin_id", f"must name the plugin in 1 to {LONGEST_NAME} characters")
    _check_range(found, request.version_range)
    for field, most in (("operation", LONGEST_NAME), ("affinity", LONGEST_KEY), ("caller_id", LONGEST_KEY)):
        found.unless(len(getattr(request, field)) <= most, field, f"must have at most {most} characters")
    rule = f"must be from 0 (60,000) to {_LONGEST_MILLIS:,}"
    found.unless(0 <= request.lease_millis <= _LONGEST_MILLIS, "lease_millis", rule)
    found.refuse()
    return Wish(
        plugin_id=request.plugin_id,
        version_range=request.version_range,
        operation=request.operation,
        affinity=request.affinity,
        exclude=frozenset(request.exclude),
        caller_id=request.caller_id,
        lease=request.lease_millis / 1000 if request.lease_millis else None,
        explain=request.explain,
        trial=request.trial,
    )


def ended(request: pb.SettleRequest) -> tuple[str, Ended]:
    """Which pick's call ended, and how; raises InvalidRequest."""
    found = Violations()
    found.unless(bool(request.pick_id), "pick_id", "must be that of the pick")
    known = request.code in set(Code)
    found.unless(known, "code", "must be a canonical gRPC code, from 0 to 16")
    for field in ("latency_micros", "timeout_micros"):
        found.unless(getattr(request, field) >= 0, field, "must not be negative")
    found.refuse()
    given = request.timeout_micros / 1e6 if request.timeout_micros else None
    failure = _failure(request) if request.HasField("failure") else None
    return request.pick_id, Ended(code=request.code, took=request.latency_micros / 1e6, given=given, failure=failure)


def choice_to_message(choice: Choice, now: float) -> pb.PickResponse:
    """An instance for one call."""
    return pb.PickResponse(
        pick_id=choice.pick_id,
        endpoint=endpoint_to_message(choice.endpoint, now),
        permit_id=choice.permit_id,
        generation=choice.endpoint.circuit.generation,
        policy=POLICY[choice.policy],
        judgements=[_explanation(one, choice.endpoint.instance_id) for one in choice.explanations],
    )


def _check_range(found: Violations, version_range: str) -> None:
    try:
        VersionRange.of(version_range)
        short = len(version_range) <= LONGEST_RANGE
        found.unless(short, "version_range", f"must have at most {LONGEST_RANGE} characters")
    except InvalidRange as error:
        found.unless(False, "version_range", str(error))


def _failure(request: pb.SettleRequest) -> CallFailure:
    said = request.failure
    return CallFailure(
        code=request.code,
        reason=said.reason[:LONGEST_NAME],
        message=said.message[:LONGEST_MESSAGE],
        traceparent=said.traceparent[:LONGEST_NAME],
    )


def _explanation(one: PickExplanation, chosen: str) -> pb.Judgement:
    return pb.Judgement(
        instance_id=one.instance_id,
        exclusion=one.exclusion.value if one.exclusion is not None else "",
        chosen=one.instance_id == chosen,
        in_flight=one.in_flight,
        weight=one.weight,
    )
