"""The same instance for the same key, as long as it is eligible."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

from forgemesh.routing.endpoint import Endpoint


def favourite(key: str, eligible: Sequence[Endpoint]) -> Endpoint:
    """
    The endpoint of `eligible` (not empty) whose instance id, hashed with the key, gives the most.

    Rendezvous hashing (Thaler and Ravishankar, 1998): an instance that leaves takes only its own keys along, each of
    them to the instance that comes second for it; one that comes takes its share from all others alike. Whoever asks
    gets the same answer, and an instance that starts anew under its id finds its keys again.
    """
    return max(eligible, key=lambda endpoint: (draw(key, endpoint.instance_id), endpoint.instance_id))


@lru_cache(maxsize=8192)
def draw(key: str, name: str) -> int:
    """A number of 64 bits that depends on nothing but the two."""
    digest = blake2b(f"{len(key)}:{key}{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest)
