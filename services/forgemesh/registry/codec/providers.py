"""Searches for providers and what they find, between the API and the domain."""

from __future__ import annotations

from math import isfinite

from forgemesh.api.plugin.v1 import load_pb2
from forgemesh.api.registry.v1 import provider_pb2 as pb, registry_service_pb2 as service_pb
from forgemesh.registry.application.providers import Search
from forgemesh.registry.codec import instances, resolutions
from forgemesh.registry.domain.ranking import Condition, Load, Ranked

USUAL, MOST = 10, 500


def to_search(request: service_pb.FindProvidersRequest) -> Search:
    """A request that was checked."""
    return Search(
        requirement=resolutions.from_requirement(request.requirement),
        must=[_condition(one) for one in request.must],
        prefer=[(_condition(one.condition), one.weight or 1) for one in request.prefer],
        unavailable=request.include_unavailable,
        limit=min(request.limit or USUAL, MOST),
    )


def to_provider(ranked: Ranked) -> pb.Provider:
    """One that was found."""
    candidate = ranked.candidate
    return pb.Provider(
        instance=instances.to_message(candidate.registration),
        score=ranked.score,
        parts=[
            pb.ScorePart(name=part.name, value=part.value, weight=part.weight, source=part.source)
            for part in ranked.parts
        ],
        available=not candidate.objection,
        unavailable_reason=candidate.objection,
    )


def to_load(message: load_pb2.LoadReport) -> Load:
    """What an instance measured; numbers that are none say nothing."""
    named = message.named_metrics
    rate = named.get("success_rate")
    latency = named.get("latency_p95_seconds")
    return Load(
        success_rate=rate if rate is not None and 0 <= rate <= 1 else None,
        latency=latency if latency and isfinite(latency) and latency > 0 else None,
        utilization=message.application_utilization if 0 <= message.application_utilization < float("inf") else None,
    )


def _condition(message: pb.Condition) -> Condition:
    if message.HasField("label"):
        return Condition(label=(message.label.key, message.label.value))
    return Condition(operation=message.operation, zone=message.zone)
