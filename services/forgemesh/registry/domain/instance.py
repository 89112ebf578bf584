"""An instance as it describes itself, and its registration."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """Whether an instance wants calls."""

    ACTIVE = "active"
    DRAINING = "draining"
    CRASH_LOOP = "crash loop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One plugin-host process. An empty `health_address` means `address`; zero is unbounded in flight, weight 1."""

    instance_id: str
    plugin_id: str
    plugin_version: str
    address: str
    health_address: str = ""
    max_in_flight: int = 0
    weight: int = 0
    tier: int = 0
    zone: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    session: bool = False
    state: State = State.ACTIVE
    state_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """
    An instance at one incarnation.

    `owner` is the digest of the owner's secret, `ttl` (seconds) what each renewal of its lease is good for,
    `registered_at` seconds since 1970. `quarantine` is why its version is out of use, if it is.
    It is `suspect` while its lease has run out together with too many others. `manifest_digest` is that of the manifest
    that was published for it when it registered.
    """

    instance: Instance
    incarnation: int
    owner: bytes
    ttl: float
    registered_at: float
    suspect: bool = False
    quarantine: str = ""
    manifest_digest: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a message that concerns a registration must show."""

    instance_id: str
    incarnation: int
    owner: bytes


@dataclass(frozen=True, slots=True)
class Revision:
    """A point in the history of one registry; points of different epochs have no common history."""

    epoch: int
    revision: int
