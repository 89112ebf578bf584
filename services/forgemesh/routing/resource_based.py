"""Shares by what an instance can still take, as it reports it (gRFC A58)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forgemesh.routing.eligibility import RemoteLoad
from forgemesh.routing.endpoint import Endpoint

MOST = 1e12
"""No weight counts for more."""


def load_weights(eligible: Sequence[Endpoint], loads: Mapping[str, RemoteLoad]) -> Sequence[float] | None:
    """
    The weight of each by its reports; whose is not known has the mean of the others. None: fewer than two are known.

    A weight that is no number above zero is not known.
    """
    given = [_NOT_KNOWN if (load := loads.get(endpoint.instance_id)) is None else load.weight for endpoint in eligible]
    known = limited([weight for weight in given if weight > 0])
    if len(known) < 2:
        return None
    if len(known) == len(given):
        return known
    mean = sum(known) / len(known)
    return limited([weight if weight > 0 else mean for weight in given])


def limited(weights: Sequence[float]) -> Sequence[float]:
    """The weights, none of them above MOST."""
    return weights if max(weights, default=0) <= MOST else [min(weight, MOST) for weight in weights]


_NOT_KNOWN = 0.0
