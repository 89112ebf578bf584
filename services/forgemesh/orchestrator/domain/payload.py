"""Values that travel between steps, as bytes; decoded only where somebody looks into them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

JSON = "application/json"


class Payload(msgspec.Struct, frozen=True):
    """`data` as its producer wrote it."""

    data: bytes
    media_type: str = JSON
    metadata: Mapping[str, str] = {}

    @property
    def is_json(self) -> bool:
        return self.media_type in ("", JSON)

    def value(self) -> object:
        """The decoded JSON; integers of any size stay exact. Raises ValueError for anything that is not JSON."""
        if not self.is_json:
            raise ValueError(f"a payload of type {self.media_type} cannot be looked into")
        try:
            return msgspec.json.decode(self.data) if self.data else None
        except msgspec.DecodeError as error:
            raise ValueError(f"not valid JSON: {error}") from error


def json_payload(value: object) -> Payload:
    """`value` as JSON. Raises TypeError or ValueError for what JSON cannot say."""
    return Payload(msgspec.json.encode(value))


NULL = Payload(b"null")
EMPTY_OBJECT = Payload(b"{}")
