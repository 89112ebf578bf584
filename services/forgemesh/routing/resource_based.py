"""Shares by what an instance can still take, as it reports it (gRFC A58)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forgemesh.routing.eligibility import RemoteLoad
from forgemesh.routing.endpoint import Endpoint

MOST = 1e12
"""No weight counts for more."""


def load_weights(eligible: Sequence[Endpoint], loads: Mapping[str, RemoteLoad]) -> list[float] | None:
    """
    The weight of each by its reports; whose is not known has the mean of the others. None: fewer than two are known.

    A weight that is no number above zero is not known.
    """
    given = [load.weight if (load := loads.get(endpoint.instance_id)) else 0.0 for endpoint in eligible]
    known = [min(weight, MOST) for weight in given if weight > 0]
    if len(known) < 2:
        return None
    mean = sum(known) / len(known)
    return [min(weight, MOST) if weight > 0 else mean for weight in given]
