"""Values that travel between steps, as bytes; decoded only where somebody looks into them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from forgemesh.faults.workflow import PayloadTooLarge
from forgemesh.language.json_value import NotJson, is_json, read_json
from forgemesh.language.nesting import check_depth

JSON = "application/json"
MAX_INPUT = 4 * 1024 * 1024 - 64 * 1024
"""Bytes of a step's input or of an output: what one message carries, with room for the rest of it."""
_FACT = 16
"""Bytes that a fact of the metadata takes in a message besides its words, at most."""
MAX_MEDIA_TYPE = 200
"""Characters of it."""


class Payload(msgspec.Struct, frozen=True):
    """`data` as its producer wrote it."""

    data: bytes
    media_type: str = JSON
    metadata: Mapping[str, str] = {}

    @property
    def is_json(self) -> bool:
        return self.media_type == JSON or is_json(self.media_type)

    @property
    def size(self) -> int:
        """Bytes that it takes in a message, its media type apart: what comes with the data counts too."""
        if not self.metadata:
            return len(self.data)
        facts = sum(len(key.encode()) + len(value.encode()) + _FACT for key, value in self.metadata.items())
        return len(self.data) + facts

    def value(self) -> object:
        """The decoded JSON; integers of any size stay exact. Raises ValueError for anything that is not JSON."""
        if not self.is_json:
            raise ValueError(f"a payload of type {self.media_type} cannot be looked into")
        try:
            return read_json(self.data) if self.data else None
        except NotJson as error:
            raise ValueError(f"not valid JSON: {error}") from error

    def raw(self) -> msgspec.Raw:
        """Its bytes, to stand inside a larger JSON text. Raises ValueError for anything that is not JSON."""
        if not self.is_json:
            raise ValueError(f"a payload of type {self.media_type} cannot stand inside another")
        try:
            check_depth(self.data)
            self.data.decode()
            return msgspec.Raw(msgspec.json.decode(self.data, type=msgspec.Raw) if self.data else b"null")
        except ValueError as error:
            raise ValueError(f"not valid JSON: {error}") from error


def json_payload(value: object) -> Payload:
    """`value`, all of whose numbers are finite, as JSON. Raises TypeError or ValueError for what JSON cannot say."""
    data = msgspec.json.encode(value)
    check_depth(data)
    return Payload(data)


def read_foreign(payload: Payload) -> object:
    """
    The value of what says that it is JSON, None of anything else.

    Raises ValueError if others could not read it, or could not tell what it says that it is.
    """
    media_type = payload.media_type
    if media_type != JSON:
        if len(media_type) > MAX_MEDIA_TYPE or not media_type.isprintable():
            raise ValueError(f"its media type is no text of at most {MAX_MEDIA_TYPE} printable characters")
        if not is_json(media_type):
            return None
    try:
        return read_json(payload.data) if payload.data else None
    except NotJson as error:
        raise ValueError(f"it says that it is {media_type} and is not valid JSON: {error}") from error


def misread(payload: Payload) -> str:
    """Why others could not read it, see `read_foreign`; empty if they can."""
    try:
        read_foreign(payload)
    except ValueError as error:
        return str(error)
    return ""


def content_of_payload(payload: Payload) -> tuple[str, bytes, tuple[tuple[str, str], ...]]:
    """All that tells it from others, for digests."""
    return JSON if payload.is_json else payload.media_type, payload.data, tuple(sorted(payload.metadata.items()))


def check_size(payload: Payload, what: str) -> None:
    """Raises PayloadTooLarge."""
    if payload.size > MAX_INPUT:
        raise PayloadTooLarge(what, payload.size, MAX_INPUT)


NULL = Payload(b"null")
EMPTY_OBJECT = Payload(b"{}")
