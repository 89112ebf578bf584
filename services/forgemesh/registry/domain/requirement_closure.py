"""Everything that a resolution could come to need, in the order in which it is decided."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from forgemesh.registry.domain.candidates import Candidates
from forgemesh.registry.domain.manifest import Requirement
from forgemesh.registry.domain.needs_graph import finished, parts

Node: TypeAlias = tuple[bool, str]
"""An interface (True) or a plugin (False), by name."""


def node_of(requirement: Requirement) -> Node:
    """What a requirement points at."""
    return (True, requirement.interface) if requirement.interface else (False, requirement.plugin_id)


@dataclass(frozen=True, slots=True)
class RequirementClosure:
    """
    `ranks` has a number for each node that can be reached, larger than those of all nodes that could need it.

    Where that is not possible, as some could need one another in a circle, the circle is entered where the search for
    it came in, and its nodes are of one part in `parts`. Interfaces come as late as they can: who provides them is
    best decided when most else is.
    """

    ranks: Mapping[Node, int]
    parts: Mapping[Node, int]

    @classmethod
    def of(cls, candidates: Candidates, roots: Iterable[Requirement]) -> RequirementClosure:
        """What these requirements could come to need."""
        starts = [node_of(one) for one in roots]
        needs = _graph(candidates, starts)
        place = {node: number for number, node in enumerate(reversed(finished(needs, reversed(starts))))}
        return cls(_as_late_as_possible(place, needs), parts(needs))


def _graph(candidates: Candidates, starts: Sequence[Node]) -> Mapping[Node, Sequence[Node]]:
    """What each node that can be reached could need, interfaces first, then as it is said."""
    found: dict[Node, Sequence[Node]] = {}
    waiting = list(starts)
    while waiting:
        node = waiting.pop()
        if node in found:
            continue
        found[node] = _could_need(candidates, node)
        waiting.extend(found[node])
    return found


def _could_need(candidates: Candidates, node: Node) -> Sequence[Node]:
    is_interface, name = node
    if is_interface:
        return [(False, plugin_id) for plugin_id in candidates.providers(name)]
    if candidates.is_fixed(name):
        return []
    needed = dict.fromkeys(
        node_of(dependency.requirement)
        for release in reversed(candidates.of(name))
        for dependency in release.manifest.dependencies
        if not dependency.optional
    )
    return sorted(needed, key=lambda one: not one[0])


def _as_late_as_possible(place: Mapping[Node, int], needs: Mapping[Node, Sequence[Node]]) -> Mapping[Node, int]:
    """Plugins before interfaces wherever that is free; within both, and where a circle is entered, by `place`."""
    waits_for = dict.fromkeys(place, 0)
    for node in place:
        for needed in needs[node]:
            waits_for[needed] += 1
    urgency: Callable[[Node], tuple[bool, int, Node]] = lambda node: (node[0], place[node], node)  # noqa: E731
    ready = [urgency(node) for node, count in waits_for.items() if count == 0]
    heapq.heapify(ready)
    by_place = iter(place)
    ranked: dict[Node, int] = {}
    while len(ranked) < len(place):
        node = heapq.heappop(ready)[2] if ready else next(one for one in by_place if one not in ranked)
        if node in ranked:
            continue
        ranked[node] = len(ranked)
        for needed in needs[node]:
            waits_for[needed] -= 1
            if waits_for[needed] == 0 and needed not in ranked:
                heapq.heappush(ready, urgency(needed))
    return ranked
