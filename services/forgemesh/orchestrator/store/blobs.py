"""Large payloads inside a stored event, kept apart from it under the hash of their content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from forgemesh.api.payload.v1 import payload_pb2
from forgemesh.faults.service import DataCorrupted

INLINE = 256 * 1024
"""Bytes that a payload may have inside its event."""
_KEY = "\0blob"
"""Metadata that stands for a payload's data. A key of a payload's own that begins so gets it once more in front."""


def take_out(message: Any) -> dict[bytes, bytes]:
    """Replace the large payloads in a message by their hashes; their contents by hash."""
    blobs: dict[bytes, bytes] = {}
    for payload in _payloads(message):
        for key in reversed(_ours(payload)):
            payload.metadata[_KEY + key] = payload.metadata.pop(key)
        if len(payload.data) > INLINE:
            digest = hashlib.sha256(payload.data).digest()
            blobs[digest] = payload.data
            payload.data = b""
            payload.metadata[_KEY] = digest.hex()
    return blobs


def put_back(message: Any, blobs: Mapping[bytes, bytes], record: str) -> None:
    """The reverse; raises DataCorrupted for contents that are missing or changed."""
    for payload in _payloads(message):
        if _KEY in payload.metadata:
            digest = bytes.fromhex(payload.metadata.pop(_KEY))
            data = blobs.get(digest)
            if data is None:
                raise DataCorrupted(record, f"its payload {digest.hex()[:16]} is missing")
            if hashlib.sha256(data).digest() != digest:
                raise DataCorrupted(record, f"its payload {digest.hex()[:16]} has changed")
            payload.data = data
        for key in _ours(payload):
            payload.metadata[key.removeprefix(_KEY)] = payload.metadata.pop(key)


def _ours(payload: payload_pb2.Payload) -> list[str]:
    """Metadata keys that look like ours, the shortest first: one that loses its prefix takes no other's place."""
    return sorted((key for key in payload.metadata if key.startswith(_KEY)), key=len)


def _payloads(message: Any) -> Iterator[payload_pb2.Payload]:
    if isinstance(message, payload_pb2.Payload):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                for inner in value.values():
                    yield from _payloads(inner)
        elif isinstance(value, payload_pb2.Payload):
            yield value
        elif hasattr(value, "ListFields"):
            yield from _payloads(value)
        else:
            for inner in value:
                yield from _payloads(inner)
