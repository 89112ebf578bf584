"""Refused registrations between the API and the registry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from forgemesh.api.registry.v1 import refusal_pb2, registry_service_pb2 as pb
from forgemesh.chassis.pages import fitting
from forgemesh.registry.application.refusals import Applicant, Refusal

MOST_BYTES = 48 * 1024
"""Of all refusals in one message, which has a page of instances beside them."""


def publisher(request: pb.PublishManifestRequest, peer: str) -> Applicant:
    """Who publishes, as far as it is going to register."""
    return Applicant(request.instance_id, request.manifest.plugin_id, request.manifest.version, peer)


def registrant(request: pb.RegisterInstanceRequest, peer: str) -> Applicant:
    """Who registers."""
    instance = request.instance
    return Applicant(instance.instance_id, instance.plugin_id, instance.plugin_version, peer)


def to_messages(refusals: Iterable[Refusal]) -> Sequence[refusal_pb2.Refusal]:
    """As many of them, from the first on, as there is room for."""
    return fitting((_message(one) for one in refusals), MOST_BYTES)


def _message(refusal: Refusal) -> refusal_pb2.Refusal:
    applicant = refusal.applicant
    return refusal_pb2.Refusal(
        instance_id=applicant.instance_id,
        plugin_id=applicant.plugin_id,
        plugin_version=applicant.plugin_version,
        peer=applicant.peer,
        reason=refusal.reason,
        message=refusal.message,
        first_at=_stamp(refusal.first_at),
        last_at=_stamp(refusal.last_at),
        count=refusal.count,
    )


def _stamp(at: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromMicroseconds(round(at * 1e6))
    return stamp
