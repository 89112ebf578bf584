"""Values as they travel, there and back."""

from __future__ import annotations

from typing import Any

from forgemesh.api.payload.v1.payload_pb2 import Payload
from forgemesh.chassis.channel import SESSION_LIMIT
from forgemesh.faults import Violation
from forgemesh.faults.service import InvalidRequest
from forgemesh.faults.workflow import PayloadTooLarge, PayloadUnreadable
from forgemesh.language.json_value import JSON, NotJson, is_json, read_json, write_json


def encoded(value: object, what: str, field: str = "input") -> Payload | None:
    """
    The value as JSON, a Payload as it is, and nothing for None.

    Raises PayloadTooLarge, which names `what`, for more than a message carries, and InvalidRequest, which names the
    place in `field`, for what would not arrive as it is: NaN, infinities, keys that become the same text, and a Payload
    that says that it is JSON and is none.
    """
    if value is None:
        return None
    try:
        payload = value if isinstance(value, Payload) else Payload(media_type=JSON, data=write_json(value))
        if len(payload.data) > SESSION_LIMIT:
            raise PayloadTooLarge(what, len(payload.data), SESSION_LIMIT)
        if isinstance(value, Payload) and payload.data and is_json(payload.media_type):
            read_json(payload.data)
    except NotJson as error:
        raise InvalidRequest([Violation(error.path(field), error.cause)]) from error
    return payload


def decoded(payload: Payload, what: str = "the output") -> Any:
    """The value in a JSON payload, any other payload as it is; raises PayloadUnreadable for JSON that is none."""
    if not is_json(payload.media_type):
        return payload
    try:
        return read_json(payload.data) if payload.data else None
    except NotJson as error:
        raise PayloadUnreadable(what, payload.media_type or JSON, str(error)) from error
