"""Which hosts may go on to start their plugin now, and what keeps the others: decided from what needs what."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from forgemesh.notation.version_range import wanted_by, wanted_of_interface
from forgemesh.plugin_host.supervisor.needs.circle import circle_in, components


class OnLoss(Enum):
    """What becomes of a plugin when something that it needs is lost later."""

    IGNORE = "ignore"
    DEGRADE = "degrade"
    STOP = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """A plugin, or an interface, in a range of versions."""

    name: str
    interface: bool = False
    version_range: str = ""
    optional: bool = False
    on_loss: OnLoss = OnLoss.DEGRADE

    @property
    def text(self) -> str:
        """For people."""
        kind = "interface" if self.interface else "plugin"
        return f"{kind} {self.name} {self.version_range}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What one instance offers: a plugin version and the interfaces (name, version) that it fulfils."""

    plugin_id: str
    version: str
    interfaces: tuple[tuple[str, str], ...] = ()

    def meets(self, need: Need) -> bool:
        """Whether it is what is needed."""
        if need.interface:
            fits = wanted_of_interface(need.version_range)
            return any(name == need.name and fits(version) for name, version in self.interfaces)
        return self.plugin_id == need.name and wanted_by(need.version_range)(self.version)


class Readiness(Enum):
    """How far a host has come, as far as others depend on it."""

    UNKNOWN = "unknown"  # it is on its way and has not said yet what it is
    WAITING = "waiting"
    COMING = "coming"
    SERVING = "serving"
    PAUSED = "paused"  # it was stopped because something was lost
    OUT = "out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One host, as the decision sees it. `offer` is None until it is known."""

    instance_id: str
    standing: Readiness
    offer: Offer | None = None
    needs: tuple[Need, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """
    What follows for each host, by instance id.

    `start` may start their plugin, with what they then lack; `waiting` have to wait for what is named; `circles` holds
    a path for each that cannot ever start because plugins need one another. `lacking` holds what each serving host
    works without; `stop` must not go on without what is named; `resume` has everything back. `hopeless` is what a
    host that waits, or was stopped for a loss, needs that is not even on its way.
    """

    start: tuple[str, ...] = ()
    waiting: Mapping[str, tuple[Need, ...]] = field(default_factory=dict)
    hopeless: Mapping[str, tuple[Need, ...]] = field(default_factory=dict)
    circles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lacking: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stop: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    resume: tuple[str, ...] = ()


def decide(members: Sequence[Member], elsewhere: Iterable[Offer]) -> Decision:
    """`elsewhere` is what serves outside of this supervisor. Linear in members and needs."""
    serving = _Offers((*(m.offer for m in members if m.standing is Readiness.SERVING and m.offer), *elsewhere))
    lacking, stop, paused = {}, {}, {}
    for member in members:
        unmet = [need for need in member.needs if not serving.meet(need)]
        if member.standing is Readiness.SERVING:
            lost = _names(need for need in unmet if need.on_loss is OnLoss.STOP)
            if lost:
                stop[member.instance_id] = lost
            else:
                lacking[member.instance_id] = _names(need for need in unmet if need.on_loss is not OnLoss.IGNORE)
        elif member.standing is Readiness.PAUSED:
            paused[member.instance_id] = tuple(n for n in unmet if not n.optional or n.on_loss is OnLoss.STOP)
    start, waiting, hopeless, circles = _Start(members, serving).decided()
    resume = [key for key, lost in paused.items() if not lost]
    hopeless |= _not_on_their_way(members, paused, stuck={*hopeless, *circles})
    return Decision(
        start=start,
        waiting=waiting,
        hopeless=hopeless,
        circles=circles,
        lacking=lacking,
        stop=stop,
        resume=tuple(resume),
    )


def losers(members: Sequence[Member], leaving: set[str], elsewhere: Iterable[Offer]) -> list[str]:
    """Which serving hosts would lack something that they cannot do without, were those in `leaving` gone."""
    left = [m for m in members if m.standing is Readiness.SERVING and m.instance_id not in leaving]
    others = tuple(elsewhere)
    before = _Offers((*(m.offer for m in members if m.standing is Readiness.SERVING and m.offer), *others))
    after = _Offers((*(m.offer for m in left if m.offer), *others))
    return [
        m.instance_id
        for m in left
        if any(not need.optional and before.meet(need) and not after.meet(need) for need in m.needs)
    ]


def levels(offers: Mapping[str, Offer], needs: Mapping[str, Sequence[Need]]) -> dict[str, int]:
    """How many others, at most, stand below each of these in a chain of needs; circles count as nothing."""
    index = _ByWhat((key, offer) for key, offer in offers.items())
    below = {key: {k for need in needs.get(key, ()) for k in index.who(need) if k != key} for key in offers}
    found: dict[str, int] = {}
    for component in components(below):  # what is needed comes first
        inside = set(component)
        level = max((found[k] + 1 for key in component for k in below[key] if k not in inside), default=0)
        found.update(dict.fromkeys(component, level))
    return found


def _not_on_their_way(
    members: Sequence[Member], paused: Mapping[str, tuple[Need, ...]], stuck: Collection[str]
) -> dict[str, tuple[Need, ...]]:
    """What each of the `paused` hosts has lost that nobody is about to bring back; `stuck` ones will not."""
    if any(member.standing is Readiness.UNKNOWN for member in members):
        return {}
    coming = _Offers(
        member.offer
        for member in members
        if member.standing in (Readiness.COMING, Readiness.WAITING) and member.instance_id not in stuck
    )
    found = {key: tuple(need for need in lost if not coming.meet(need)) for key, lost in paused.items()}
    return {key: lost for key, lost in found.items() if lost}


class _Start:
    """The part of the decision that is about hosts that wait to start."""

    def __init__(self, members: Sequence[Member], serving: _Offers) -> None:
        self._waiting = {m.instance_id: m for m in members if m.standing is Readiness.WAITING}
        self._undecided = any(m.standing is Readiness.UNKNOWN for m in members)
        self._coming = _Offers(m.offer for m in members if m.standing is Readiness.COMING and m.offer)
        self._who = _ByWhat((m.instance_id, m.offer) for m in self._waiting.values() if m.offer)
        self._unmet = {key: [n for n in m.needs if not serving.meet(n)] for key, m in self._waiting.items()}

    def decided(
        self,
    ) -> tuple[tuple[str, ...], dict[str, tuple[Need, ...]], dict[str, tuple[Need, ...]], dict[str, tuple[str, ...]]]:
        hopeful = self._hopeful()
        circular = self._circular()
        start, waiting, hopeless, circles = [], {}, {}, {}
        for key, unmet in self._unmet.items():
            holding = [need for need in unmet if not need.optional]
            dead = [n for n in holding if not self._coming.meet(n) and not any(k in hopeful for k in self._who.who(n))]
            if key in circular:
                circles[key] = circular[key]
            if dead and not self._undecided:
                hopeless[key] = tuple(dead)
            if not holding:
                holding = [need for need in unmet if self._worth_waiting(key, need, hopeful)]
            if holding:
                waiting[key] = tuple(holding)
            else:
                start.append(key)
        return tuple(start), waiting, hopeless, circles

    def _hopeful(self) -> set[str]:
        """Waiting hosts all of whose needs are met, or will be, as far as can be seen from here."""
        open_needs: dict[str, int] = {}
        users: dict[str, list[tuple[str, int]]] = {}
        answered: set[tuple[str, int]] = set()
        for key, unmet in self._unmet.items():
            needs = [n for n in unmet if not n.optional and not self._coming.meet(n)]
            open_needs[key] = len(needs)
            for number, need in enumerate(needs):
                for provider in self._who.who(need):
                    users.setdefault(provider, []).append((key, number))
        found = {key for key, count in open_needs.items() if not count}
        queue = deque(found)
        while queue:
            for user, number in users.get(queue.popleft(), ()):
                if (user, number) in answered:
                    continue
                answered.add((user, number))
                open_needs[user] -= 1
                if not open_needs[user]:
                    found.add(user)
                    queue.append(user)
        return found

    def _edges(self, *, optional: bool) -> dict[str, set[str]]:
        """Who waits for whom."""
        return {
            key: {provider for need in unmet if optional or not need.optional for provider in self._who.who(need)}
            for key, unmet in self._unmet.items()
        }

    def _circular(self) -> dict[str, tuple[str, ...]]:
        """The circle of plugins, for each host that stands in one made of needs that are not optional."""
        plugins = {key: member.offer.plugin_id for key, member in self._waiting.items() if member.offer}
        edges: dict[str, set[str]] = {}
        for key, providers in self._edges(optional=False).items():
            edges.setdefault(plugins[key], set()).update(plugins[provider] for provider in providers)
        paths: dict[str, tuple[str, ...]] = {}
        for component in components(edges):
            if len(component) > 1 or component[0] in edges[component[0]]:
                paths.update(dict.fromkeys(component, tuple(circle_in(edges, component))))
        return {key: paths[plugin_id] for key, plugin_id in plugins.items() if plugin_id in paths}

    def _worth_waiting(self, key: str, need: Need, hopeful: set[str]) -> bool:
        """Whether something optional is on its way, and does not itself wait for the one that would wait."""
        if self._undecided or self._coming.meet(need):
            return True
        return any(k in hopeful and not self._together(key, k) for k in self._who.who(need))

    def _together(self, one: str, other: str) -> bool:
        """Whether each waits for the other, over others or not."""
        return self._component[one] == self._component[other]

    @functools.cached_property
    def _component(self) -> dict[str, int]:
        found = components(self._edges(optional=True))
        return {key: number for number, keys in enumerate(found) for key in keys}


class _ByWhat:
    """Who offers what."""

    def __init__(self, offers: Iterable[tuple[str, Offer]]) -> None:
        self._plugins: dict[str, list[tuple[str, Offer]]] = {}
        self._interfaces: dict[str, list[tuple[str, Offer]]] = {}
        for key, offer in offers:
            self._plugins.setdefault(offer.plugin_id, []).append((key, offer))
            for name in {name for name, _ in offer.interfaces}:
                self._interfaces.setdefault(name, []).append((key, offer))

    def who(self, need: Need) -> list[str]:
        """The keys of those that are what is needed."""
        known = (self._interfaces if need.interface else self._plugins).get(need.name, ())
        return [key for key, offer in known if offer.meets(need)]


class _Offers:
    """What is offered, by anybody."""

    def __init__(self, offers: Iterable[Offer | None]) -> None:
        self._by_what = _ByWhat((str(number), offer) for number, offer in enumerate(offers) if offer)
        self._answers: dict[Need, bool] = {}

    def meet(self, need: Need) -> bool:
        """Whether somebody offers it."""
        if need not in self._answers:
            self._answers[need] = bool(self._by_what.who(need))
        return self._answers[need]


def _names(needs: Iterable[Need]) -> tuple[str, ...]:
    return tuple(sorted({need.name for need in needs}))
