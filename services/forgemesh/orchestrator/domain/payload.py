"""Values that travel between steps, as bytes; decoded only where somebody looks into them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from forgemesh.faults.workflow import PayloadTooLarge
from forgemesh.language.nesting import check_depth

JSON = "application/json"
MAX_INPUT = 4 * 1024 * 1024 - 64 * 1024
"""Bytes of a step's input or of an output: what one message carries, with room for the rest of it."""


class Payload(msgspec.Struct, frozen=True):
    """`data` as its producer wrote it."""

    data: bytes
    media_type: str = JSON
    metadata: Mapping[str, str] = {}

    @property
    def is_json(self) -> bool:
        return self.media_type in ("", JSON)

    @property
    def size(self) -> int:
        """Bytes that it takes in a message, near enough: what comes with the data counts too."""
        if not self.metadata:
            return len(self.data)
        return len(self.data) + sum(len(key.encode()) + len(value.encode()) for key, value in self.metadata.items())

    def value(self) -> object:
        """The decoded JSON; integers of any size stay exact. Raises ValueError for anything that is not JSON."""
        if not self.is_json:
            raise ValueError(f"a payload of type {self.media_type} cannot be looked into")
        try:
            check_depth(self.data)
            return msgspec.json.decode(self.data) if self.data else None
        except ValueError as error:
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
    """`value` as JSON. Raises TypeError or ValueError for what JSON cannot say."""
    return Payload(msgspec.json.encode(value))


def content_of_payload(payload: Payload) -> tuple[str, bytes, tuple[tuple[str, str], ...]]:
    """All that tells it from others, for digests."""
    return JSON if payload.is_json else payload.media_type, payload.data, tuple(sorted(payload.metadata.items()))


def check_size(payload: Payload, what: str) -> None:
    """Raises PayloadTooLarge."""
    if payload.size > MAX_INPUT:
        raise PayloadTooLarge(what, payload.size, MAX_INPUT)


NULL = Payload(b"null")
EMPTY_OBJECT = Payload(b"{}")
