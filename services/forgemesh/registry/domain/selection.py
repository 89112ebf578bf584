"""Decides which release of each plugin is taken, so that everyone who needs it accepts it."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from forgemesh.registry.domain.candidates import Candidates
from forgemesh.registry.domain.catalogue import Release
from forgemesh.registry.domain.manifest import Requirement
from forgemesh.registry.domain.requirement_closure import Node, RequirementClosure, node_of
from forgemesh.registry.domain.resolution import Wish


@dataclass(frozen=True, slots=True)
class Unmet:
    """What could not be chosen, a way to it, who needs it, and which of the plugins that could be it are published."""

    target: str
    path: Sequence[str]
    wishes: Sequence[Wish]
    published: Sequence[str]


Asking: TypeAlias = tuple[str, int]
"""The plugin that has a wish, empty for the request, and the wish's number among its own."""


class Selection:
    """
    The highest release of every plugin that all accept who need it; optional wishes are none here.

    Plugins are decided in an order in which everyone who could need one comes before it: each is then decided once.
    Where releases could need one another in a circle, a decision is taken back when a wish comes that it does not
    fulfil; what is decided anew is never higher than it was before, so that this ends.
    """

    def __init__(
        self, candidates: Candidates, wishes: Sequence[Wish], ceilings: Mapping[str, int] | None = None
    ) -> None:
        self._candidates = candidates
        self._ceilings = dict(ceilings or {})
        self._wishes: dict[Node, dict[Asking, Wish]] = {}
        self._providers: dict[Asking, str] = {}
        self.chosen: dict[str, Release] = {}
        reach = RequirementClosure.of(candidates, [wish.requirement for wish in wishes])
        self._ranks, self._parts = reach.ranks, reach.parts
        self._waiting: list[tuple[int, Node]] = []
        for number, wish in enumerate(wishes):
            self._ask(("", number), node_of(wish.requirement), wish)
        self._decide()
        while unreached := self.chosen.keys() - self._reached():
            for plugin_id in sorted(unreached):
                self._set(plugin_id, None)
            self._decide()

    def wishes_for(self, plugin_id: str) -> Sequence[Wish]:
        """Who needs the plugin, the request first, then as it was decided."""
        return [wish for _, wish in sorted(self._wishes.get((False, plugin_id), {}).items(), key=self._place)]

    def edges(self) -> Iterator[tuple[str, str, Wish]]:
        """Who needs whom by which wish; an empty id stands for the request, whose wishes come first."""
        every = [
            (self._asked_at(asking), plugin_id, asking[0], wish)
            for plugin_id in self.chosen
            for asking, wish in self._wishes[False, plugin_id].items()
        ]
        for _, needed, requirer, wish in sorted(every, key=lambda one: one[:2]):
            yield requirer, needed, wish

    def needs(self) -> Mapping[str, Sequence[str]]:
        """The ids of what each chosen plugin needs, in the order in which plugins were decided."""
        needs: dict[str, dict[str, None]] = {plugin_id: {} for plugin_id in self.chosen}
        for requirer, needed, _ in self.edges():
            if requirer:
                needs[requirer][needed] = None
        return {plugin_id: list(needed) for plugin_id, needed in needs.items()}

    def unmet(self) -> Unmet | None:
        """The first of what is needed and could not be chosen, in the order in which plugins are decided."""
        for is_interface, name in sorted(self._wishes, key=self._ranks.__getitem__):
            found = self._unmet_interface(name) if is_interface else self._unmet_plugin(name)
            if found is not None:
                return found
        return None

    def _decide(self) -> None:
        while self._waiting:
            is_interface, name = heapq.heappop(self._waiting)[1]
            if is_interface:
                self._assign(name)
            else:
                self._choose(name)

    def _ask(self, asking: Asking, node: Node, wish: Wish) -> None:
        self._wishes.setdefault(node, {})[asking] = wish
        heapq.heappush(self._waiting, (self._ranks[node], node))

    def _take_back(self, asking: Asking, node: Node) -> None:
        del self._wishes[node][asking]
        if node[0] and asking in self._providers:
            self._take_back(asking, (False, self._providers.pop(asking)))
        heapq.heappush(self._waiting, (self._ranks[node], node))

    def _choose(self, plugin_id: str) -> None:
        """Decide about a plugin by what is wished now; if no release fulfils that, it stays as it was."""
        wanted = self._wanted(plugin_id)
        if not wanted:
            self._set(plugin_id, None)
            return
        index = self._candidates.highest(plugin_id, wanted, self._ceilings.get(plugin_id))
        if index is not None:
            self._ceilings[plugin_id] = index
            self._set(plugin_id, self._candidates.of(plugin_id)[index])

    def _set(self, plugin_id: str, release: Release | None) -> None:
        """Take this release of the plugin, or none; what the one before needed is wished no more."""
        before = self.chosen.get(plugin_id)
        if release is before:
            return
        if before is not None:
            del self.chosen[plugin_id]
            for number, wish in self._own_wishes(before):
                self._take_back((plugin_id, number), node_of(wish.requirement))
        if release is not None:
            self.chosen[plugin_id] = release
            for number, wish in self._own_wishes(release):
                self._ask((plugin_id, number), node_of(wish.requirement), wish)

    def _wanted(self, plugin_id: str) -> Sequence[Requirement]:
        return [wish.requirement for wish in self._wishes.get((False, plugin_id), {}).values()]

    def _reached(self) -> set[str]:
        """The plugins that the request leads to; others may need one another in a circle that was left."""
        needs: dict[str, list[str]] = {}
        for plugin_id in self.chosen:
            for requirer, _ in self._wishes.get((False, plugin_id), {}):
                needs.setdefault(requirer, []).append(plugin_id)
        found: set[str] = set()
        waiting = [""]
        while waiting:
            fresh = [one for one in needs.get(waiting.pop(), ()) if one not in found]
            found.update(fresh)
            waiting += fresh
        return found

    def _own_wishes(self, release: Release) -> Iterator[tuple[int, Wish]]:
        if self._candidates.is_fixed(release.manifest.plugin_id):
            return
        for number, dependency in enumerate(release.manifest.dependencies):
            if not dependency.optional:
                yield number, Wish(dependency.requirement, release.manifest)

    def _assign(self, interface: str) -> None:
        """Find a provider for each wish for the interface that has none."""
        for asking, wish in list(self._wishes.get((True, interface), {}).items()):
            if asking not in self._providers:
                found = self._provider(_requirer(wish), wish.requirement)
                if found:
                    self._providers[asking] = found
                    self._ask(asking, (False, found), wish)

    def _provider(self, requirer: str, requirement: Requirement) -> str:
        """
        Who shall fulfil the wish; empty if nobody can.

        Best is one that also suits all who need it already and does not itself need the requirer; of these, one that
        is needed anyway, then the one of the highest priority, then by id.
        """
        able = [
            (plugin_id, self._candidates.of(plugin_id)[index])
            for plugin_id in self._candidates.providers(requirement.interface)
            if plugin_id != requirer
            and (index := self._candidates.highest(plugin_id, [requirement], self._ceilings.get(plugin_id))) is not None
        ]
        if len(able) < 2:
            return able[0][0] if able else ""

        def worth(one: tuple[str, Release]) -> tuple[bool, bool, bool, int]:
            plugin_id, release = one
            others = self._wanted(plugin_id)
            fits = self._candidates.highest(plugin_id, [*others, requirement], self._ceilings.get(plugin_id))
            one_part = self._parts[False, plugin_id] == self._parts.get((False, requirer))
            is_circular = one_part and self._needs(plugin_id, requirer)
            return fits is not None, not is_circular, bool(others), release.manifest.priority

        return max(able, key=worth)[0]

    def _needs(self, plugin_id: str, requirer: str) -> bool:
        """Whether, by what is decided, the plugin leads to the requirer."""
        seen, waiting = {requirer}, [requirer]
        while waiting:
            for asking in self._wishes.get((False, waiting.pop()), {}):
                if asking[0] and asking[0] not in seen:
                    seen.add(asking[0])
                    waiting.append(asking[0])
        return plugin_id in seen

    def _unmet_interface(self, interface: str) -> Unmet | None:
        for asking, wish in self._wishes[True, interface].items():
            if asking not in self._providers:
                others = [one for one in self._candidates.providers(interface) if one != _requirer(wish)]
                target = wish.requirement.target
                return Unmet(target, self._path(asking, target), [wish], others)
        return None

    def _unmet_plugin(self, plugin_id: str) -> Unmet | None:
        wishes = self._wishes[False, plugin_id]
        taken = self.chosen.get(plugin_id)
        if taken is not None and all(self._candidates.accepted(one, taken) for one in set(self._wanted(plugin_id))):
            return None
        if not wishes:
            return None
        path = self._path(min(wishes, key=self._asked_at), plugin_id)
        published = [plugin_id] if self._candidates.is_published(plugin_id) else []
        return Unmet(plugin_id, path, self.wishes_for(plugin_id), published)

    def _path(self, asking: Asking, target: str) -> Sequence[str]:
        """A shortest way from the request to a wish, and to its target."""
        came: dict[str, str] = {asking[0]: ""}
        waiting = [asking[0]]
        for plugin_id in waiting:
            if not plugin_id:
                break
            for requirer, _ in sorted(self._wishes.get((False, plugin_id), {}), key=self._asked_at):
                if requirer not in came:
                    came[requirer] = plugin_id
                    waiting.append(requirer)
        way, plugin_id = [], came.get("", "") if asking[0] else ""
        while plugin_id:
            way.append(str(self.chosen[plugin_id].manifest))
            plugin_id = came[plugin_id]
        return [*way, target]

    def _asked_at(self, asking: Asking) -> tuple[int, int]:
        return self._ranks.get((False, asking[0]), -1), asking[1]

    def _place(self, item: tuple[Asking, Wish]) -> tuple[int, int]:
        return self._asked_at(item[0])


def _requirer(wish: Wish) -> str:
    return wish.by.plugin_id if wish.by is not None else ""
