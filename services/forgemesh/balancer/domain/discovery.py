"""One xDS stream as a value: what its client has named, what it was told, and what is to be told next."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

ALL = "*"
"""The name that stands for every resource."""


class Kind(Enum):
    """Kinds of resources, in the order in which they are told: nobody is led to what he does not know yet."""

    CLUSTER = "envoy.config.cluster.v3.Cluster"
    ENDPOINTS = "envoy.config.endpoint.v3.ClusterLoadAssignment"
    LISTENER = "envoy.config.listener.v3.Listener"

    @property
    def url(self) -> str:
        """What it is called in messages."""
        return f"type.googleapis.com/{self.value}"

    @property
    def is_told_whole(self) -> bool:
        """Whether a response that leaves a resource out says that it is gone."""
        return self is not Kind.ENDPOINTS


KINDS = {kind.url: kind for kind in Kind}


class Wanted(NamedTuple):
    """What a client says of one kind: the names it wants, the response it has seen, and why it does not use that."""

    kind: Kind
    names: Collection[str]
    nonce: str = ""
    refusal: str = ""


class Told(NamedTuple):
    """A response: resources by name."""

    kind: Kind
    version: str
    nonce: str
    resources: dict[str, bytes]


@dataclass(slots=True, eq=False)
class _Kept:
    """Of one kind: names in the order in which they came, and what of them the client was sent."""

    names: dict[str, None] = field(default_factory=dict)
    wildcard: bool = False
    due: bool = False
    nonce: str = ""
    version: int = 0
    sent: dict[str, bytes] = field(default_factory=dict)
    answered: str = ""
    accepted: str = ""
    refuses: bool = False


class Heard(NamedTuple):
    """
    What is new in a request: names that were not there before, how many are not taken, whether a response is used that
    was not answered before, or refused as the first one since something was used.
    """

    fresh: tuple[str, ...] = ()
    left_out: int = 0
    accepted: bool = False
    refused: bool = False


NOTHING = Heard()


class Discovery:
    """
    State of the world, as Envoy defines it. At most `most` names of a kind are taken, each of at most `longest`
    characters: what is beyond that is left out, and everything else goes on.

    A request that answers another response than the last one is out of date and says nothing. A resource is sent when
    its name is new on the stream, also if it was there before, and when it is another than was sent, and not again
    because it was refused.
    """

    def __init__(self, epoch: int, *, most: int, longest: int) -> None:
        self._epoch = epoch
        self._most = most
        self._longest = longest
        self._kinds: dict[Kind, _Kept] = {}
        self._nonce = 0

    def wants(self, name: str) -> bool:
        """Whether anything of this name concerns the client."""
        return any(kept.wildcard or name in kept.names for kept in self._kinds.values())

    def accepted(self, kind: Kind) -> str:
        """The version of a kind that the client uses; empty if none."""
        kept = self._kinds.get(kind)
        return kept.accepted if kept else ""

    def hear(self, wanted: Wanted) -> Heard:
        """The client says something."""
        kept = self._kinds.get(wanted.kind)
        first = kept is None
        if kept is None:
            kept = self._kinds[wanted.kind] = _Kept()
        if wanted.nonce and wanted.nonce != kept.nonce:
            return NOTHING
        accepted = refused = False
        answers = bool(wanted.nonce) and kept.answered != wanted.nonce
        if wanted.nonce and wanted.refusal:
            refused, kept.refuses = answers and not kept.refuses, True
        elif wanted.nonce:
            accepted, kept.accepted, kept.refuses = answers, self._version(kept), False
        else:
            kept.sent, kept.due = {}, True  # a client that has seen nothing is told everything
        kept.answered = wanted.nonce
        return self._name(wanted, kept, first)._replace(accepted=accepted, refused=refused)

    def due(self, known: Callable[[], Iterable[str]], resource: Callable[[Kind, str], bytes]) -> Iterable[Told]:
        """
        What the client is to be told now; it counts as sent once it has been taken from here. `known` are all names
        that there are, `resource` what a name stands for now: there is something for every name.
        """
        for kind in Kind:
            kept = self._kinds.get(kind)
            if kept is None:
                continue
            names = [*kept.names, *(one for one in known() if one not in kept.names)] if kept.wildcard else kept.names
            found = {name: resource(kind, name) for name in names}
            new = {name: one for name, one in found.items() if kept.sent.get(name) != one}
            if not new and not (kept.due and (found or kind.is_told_whole)):
                continue
            kept.due = False
            if not kept.version or any(name in kept.sent for name in new):
                kept.version += 1
            self._nonce += 1
            kept.nonce = str(self._nonce)
            kept.sent |= found
            yield Told(kind, self._version(kept), kept.nonce, found if kind.is_told_whole else new)

    def _name(self, wanted: Wanted, kept: _Kept, first: bool) -> Heard:
        """
        Exactly these are wanted from now on. None at all means all clusters, as long as there never was a name; nobody
        listens to all plugins, so that all listeners are none.
        """
        named = dict.fromkeys(wanted.names)
        if ALL in named or (not named and (first or (kept.wildcard and not kept.names))):
            kept.wildcard = wanted.kind is Kind.CLUSTER
            named.pop(ALL, None)
        else:
            kept.wildcard = False
        sound = [name for name in named if 0 < len(name) <= self._longest]
        old = [name for name in sound if name in kept.names]
        fresh = [name for name in sound if name not in kept.names]
        taken = dict.fromkeys((old + fresh)[: self._most])
        for name in kept.names.keys() - taken.keys():
            if not kept.wildcard:
                kept.sent.pop(name, None)
        kept.names = taken
        return Heard(tuple(name for name in fresh if name in taken), len(named) - len(taken))

    def _version(self, kept: _Kept) -> str:
        return f"{self._epoch}.{kept.version}"
