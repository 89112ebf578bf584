"""Calls that ran when processes of this plugin ended, as the supervisor tells them."""

from __future__ import annotations

from forgemesh.api.supervisor.v1 import attach_pb2


class Suspects:
    """
    By the digest of the call. Nobody is suspected until a supervisor says so.

    To be used on the event loop.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, attach_pb2.Suspect] = {}

    def __bool__(self) -> bool:
        return bool(self._known)

    def told(self, suspects: attach_pb2.Suspects) -> None:
        """All there are now."""
        self._known = {suspect.key: suspect for suspect in suspects.suspects}

    def get(self, digest: bytes) -> attach_pb2.Suspect | None:
        """What is known of a call, if anything."""
        return self._known.get(digest)
