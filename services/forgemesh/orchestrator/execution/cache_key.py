"""The key under which outputs are kept: everything about a call that decides its answer, but who answers."""

from __future__ import annotations

import hashlib

import msgspec

from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.workflow.definition import Target

_DIGEST_BYTES = 24
LENGTH = 2 * _DIGEST_BYTES
"""Hex digits. Keys of another length were made by releases whose keys left something out, and are not looked up."""


def cache_key(namespace: str, target: Target, asked: Payload, *, named: bool) -> str:
    """
    Of a question: whom a call goes to, which operation, and what is `asked`: its input or, if it is `named`, the key
    that its step gives it.

    Which provider answered is kept beside the answer. The parts stand in a JSON list, so that none can run into the
    next and a number differs from its text.
    """
    parts = (
        namespace,
        target.plugin_id,
        target.interface,
        target.version_range,
        target.operation,
        sorted(target.must.items()),
        sorted(target.prefer.items()),
        named,
        asked.media_type,
        sorted(asked.metadata.items()),
    )
    digest = hashlib.blake2b(msgspec.json.encode(parts), digest_size=_DIGEST_BYTES)
    digest.update(asked.data)
    return digest.hexdigest()
