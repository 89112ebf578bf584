"""A value as it travels, for operations that read or write something else than JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from forgemesh.language.json_value import NotJson, is_json, read_json, write_json
from forgemesh.plugin.violation import Misfit

JSON = "application/json"
_FACT = 16
"""Bytes that a fact of the metadata takes in a message besides its words, at most."""


@dataclass(frozen=True, slots=True)
class Payload:
    """
    Bytes and how to read them.

    An operation with one parameter of this type gets its input unread; one that returns it has it passed on as it is.
    """

    data: bytes
    media_type: str = JSON
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes that it takes in a message, at most: what comes with the data counts too."""
        size = len(self.data)
        if self.media_type != JSON:
            size += len(self.media_type.encode())
        if self.metadata:
            size += sum(len(key.encode()) + len(value.encode()) + _FACT for key, value in self.metadata.items())
        return size


def written(value: Any) -> Payload:
    """A value as JSON, a Payload as it is. Raises Misfit, which says where, for what JSON cannot say."""
    if isinstance(value, Payload):
        return checked_payload(value)
    try:
        return Payload(write_json(value), JSON)
    except NotJson as error:
        raise Misfit(str(error)) from error


def checked_payload(payload: Payload) -> Payload:
    """The same, of bytes and texts alone; raises Misfit for what cannot travel, or says that it is JSON and is none."""
    if not isinstance(payload.data, (bytes, bytearray, memoryview)):
        raise Misfit(f"the data of a Payload is bytes, not {type(payload.data).__name__}")
    metadata = {_text(key): _text(value) for key, value in payload.metadata.items()}
    checked = Payload(bytes(payload.data), _text(payload.media_type), metadata)
    if checked.data and is_json(checked.media_type):
        try:
            read_json(checked.data)
        except NotJson as error:
            raise Misfit(f"a Payload says that it is {checked.media_type} and is not valid JSON: {error}") from error
    return checked


def _text(said: object) -> str:
    text = str(said)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Misfit("what goes with a Payload holds characters that UTF-8 does not know") from error
    return text
