"""Which calls run in a process, written down where others can read it however that process ends."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

from forgemesh.api.plugin.v1 import invocation_pb2

DIGEST = 16
_FREE = bytes(DIGEST)


def digest_of(invocation: invocation_pb2.Invocation) -> bytes:
    """What is the same for all attempts at one call, and for no other call: 16 bytes."""
    operation, key = invocation.operation.encode(), invocation.idempotency_key.encode()
    parts = b"%d %d %b%b%b" % (len(operation), len(key), operation, key, invocation.input.data)
    return blake2b(parts, digest_size=DIGEST).digest()


class RunningCalls:
    """
    A file of one digest per call that runs, shared with the process by memory: what stands there stays when the
    process is gone, and writing costs no more than memory does.
    """

    def __init__(self, path: str, places: int) -> None:
        """Begin anew, with room for so many calls at a time; raises OSError."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, 0)
            os.ftruncate(descriptor, places * DIGEST)
            self._memory = mmap.mmap(descriptor, places * DIGEST)
        finally:
            os.close(descriptor)
        self._free = list(range(0, places * DIGEST, DIGEST))
        self._taken: dict[int, int] = {}

    def begin(self, call: int, digest: bytes) -> None:
        """A call, by a number of its own, begins to run; beyond what there is room for it is not written down."""
        if self._free:
            at = self._taken[call] = self._free.pop()
            self._memory[at : at + DIGEST] = digest

    def end(self, call: int) -> None:
        """It runs no more."""
        at = self._taken.pop(call, None)
        if at is not None:
            self._memory[at : at + DIGEST] = _FREE
            self._free.append(at)


def left_running(path: Path) -> frozenset[bytes]:
    """The digests of the calls that ran when the process that wrote the file ended; none if there is no file."""
    try:
        data = path.read_bytes()
    except OSError:
        return frozenset()
    return frozenset(_written(data))


def _written(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data) - DIGEST + 1, DIGEST):
        digest = data[at : at + DIGEST]
        if digest != _FREE:
            yield digest
