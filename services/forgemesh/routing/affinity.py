"""The same instance for the same key, as long as it is eligible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from math import ceil

from forgemesh.routing.endpoint import Endpoint


def favourite(key: str, eligible: Sequence[Endpoint]) -> Endpoint:
    """
    The endpoint of `eligible` (not empty) whose instance id, hashed with the key, gives the most.

    Rendezvous hashing (Thaler and Ravishankar, 1998): an instance that leaves takes only its own keys along, each of
    them to the instance that comes second for it; one that comes takes its share from all others alike. Whoever asks
    gets the same answer, and an instance that starts anew under its id finds its keys again.
    """
    return max(eligible, key=lambda endpoint: (draw(key, endpoint.instance_id), endpoint.instance_id))


def favourite_with_room(
    key: str, eligible: Sequence[Endpoint], load: Callable[[Endpoint], float], bound: float
) -> Endpoint:
    """
    The first in the key's order that would not come above `bound` times the mean load with one more call.

    Bounded loads (Mirrokni, Thorup and Zadimoghaddam, 2016): what an instance cannot take goes to the next in the
    order, and comes back when it can. Nobody's bound is below one call; with a bound below 1 all may be above it, and
    then the favourite takes the call.
    """
    loads = {endpoint.instance_id: load(endpoint) for endpoint in eligible}
    most = max(1, ceil(bound * (sum(loads.values()) + 1) / len(loads)))
    room = [endpoint for endpoint in eligible if loads[endpoint.instance_id] + 1 <= most]
    return favourite(key, room or eligible)


@lru_cache(maxsize=8192)
def draw(key: str, name: str) -> int:
    """A number of 64 bits that depends on nothing but the two."""
    digest = blake2b(f"{len(key)}:{key}{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest)
