"""A value as it travels, for operations that read or write something else than JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from forgemesh.language.json_value import NotJson, is_json, read_json, write_json
from forgemesh.plugin.violation import Misfit

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Payload:
    """
    Bytes and how to read them.

    An operation with one parameter of this type gets its input unread; one that returns it has it passed on as it is.
    """

    data: bytes
    media_type: str = JSON
    metadata: Mapping[str, str] = field(default_factory=dict)


def written(value: Any) -> Payload:
    """A value as JSON, a Payload as it is. Raises Misfit, which says where, for what JSON cannot say."""
    if isinstance(value, Payload):
        return checked_payload(value)
    try:
        return Payload(write_json(value), JSON)
    except NotJson as error:
        raise Misfit(str(error)) from error


def checked_payload(payload: Payload) -> Payload:
    """The same; raises Misfit if it says that it is JSON and is none."""
    if payload.data and is_json(payload.media_type):
        try:
            read_json(payload.data)
        except NotJson as error:
            raise Misfit(f"a Payload says that it is {payload.media_type} and is not valid JSON: {error}") from error
    return payload
