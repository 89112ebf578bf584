"""Values as they travel, there and back."""

from __future__ import annotations

from typing import Any

import msgspec

from forgemesh.api.payload.v1.payload_pb2 import Payload
from forgemesh.chassis.channel import SESSION_LIMIT
from forgemesh.faults.workflow import PayloadTooLarge

JSON = "application/json"


def encoded(value: object, what: str) -> Payload | None:
    """
    The value as JSON, a Payload as it is, and nothing for None.

    Raises PayloadTooLarge, which names `what`, for more than a message carries.
    """
    if value is None:
        return None
    payload = value if isinstance(value, Payload) else Payload(media_type=JSON, data=msgspec.json.encode(value))
    if len(payload.data) > SESSION_LIMIT:
        raise PayloadTooLarge(what, len(payload.data), SESSION_LIMIT)
    return payload


def decoded(payload: Payload) -> Any:
    """The value in a JSON payload; any other payload as it is."""
    if payload.media_type not in ("", JSON):
        return payload
    return msgspec.json.decode(payload.data) if payload.data else None
