"""A value as it travels, for operations that read or write something else than JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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
