"""Where and how a try ran, and its message."""

from __future__ import annotations

from forgemesh.api.orchestrator.v1 import event_pb2 as pb
from forgemesh.orchestrator.dispatch.dispatch import Dispatch


def dispatch_to_message(dispatch: Dispatch) -> pb.Dispatch:
    return pb.Dispatch(
        instance_id=dispatch.instance_id,
        incarnation=dispatch.incarnation,
        plugin_version=dispatch.plugin_version,
        unix_nano=dispatch.at,
        policy=dispatch.policy,
        candidates=dispatch.candidates,
        eligible=dispatch.eligible,
        excluded=dispatch.excluded,
        session=dispatch.session,
        accepted=dispatch.accepted,
        plugin_id=dispatch.plugin_id,
        cached=dispatch.cached,
        trial=dispatch.trial,
        hedged_with=dispatch.hedged_with,
    )


def dispatch_from_message(message: pb.Dispatch) -> Dispatch:
    return Dispatch(
        instance_id=message.instance_id,
        incarnation=message.incarnation,
        plugin_version=message.plugin_version,
        at=message.unix_nano,
        plugin_id=message.plugin_id,
        policy=message.policy,
        candidates=message.candidates,
        eligible=message.eligible,
        excluded=tuple(message.excluded),
        session=message.session,
        accepted=message.accepted,
        cached=message.cached,
        trial=message.trial,
        hedged_with=message.hedged_with,
    )
