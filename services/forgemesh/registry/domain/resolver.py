"""Which plugin versions fulfil requirements, and everything that those need in turn."""

from __future__ import annotations

from collections.abc import Sequence

from forgemesh.faults import Fault
from forgemesh.faults.registry import DependencyCycle, DependencyMissing, VersionConflict
from forgemesh.registry.domain.candidates import Candidates
from forgemesh.registry.domain.catalogue import Catalogue
from forgemesh.registry.domain.manifest import Requirement
from forgemesh.registry.domain.needs_graph import find_circle, levels, reached, without_circles
from forgemesh.registry.domain.optional_needs import OptionalNeeds
from forgemesh.registry.domain.resolution import Dropped, Resolution, Resolved, Wish
from forgemesh.registry.domain.rules import Rules
from forgemesh.registry.domain.selection import Selection, Unmet

_MOST_WAYS_OUT = 5
"""Requirers whose lower versions are tried to say what would fit."""

_REQUEST = ""


def resolve(catalogue: Catalogue, rules: Rules, requirements: Sequence[Requirement]) -> Resolution:
    """
    The highest version of everything that all accept who need it, and what of it can start together.

    No requirer is taken in a lower version to make a set fit; if that would help, the fault says so. Raises
    DependencyMissing, VersionConflict or DependencyCycle.
    """
    candidates = Candidates(catalogue, rules)
    wishes = [Wish(requirement) for requirement in dict.fromkeys(requirements)]
    selection = Selection(candidates, wishes)
    unmet = selection.unmet()
    if unmet is not None:
        raise _fault(candidates, unmet, wishes)
    circle = find_circle(selection.needs())
    if circle:
        raise DependencyCycle([str(selection.chosen[one].manifest) for one in circle])
    return _resolution(OptionalNeeds(catalogue, rules, selection))


def _fault(candidates: Candidates, unmet: Unmet, wishes: Sequence[Wish]) -> Fault:
    if not unmet.published:
        return DependencyMissing(unmet.target, unmet.path)
    way_out = candidates.held_back(unmet.published, [wish.requirement for wish in unmet.wishes])
    return VersionConflict(
        unmet.target,
        [str(wish) for wish in unmet.wishes],
        candidates.published(unmet.published),
        way_out or _lower_requirer(candidates, unmet, wishes),
    )


def _lower_requirer(candidates: Candidates, unmet: Unmet, wishes: Sequence[Wish]) -> str:
    """Which lower version of who needs it would make everything fit; empty if none does."""
    requirers = dict.fromkeys(wish.by for wish in unmet.wishes if wish.by is not None)
    for manifest in list(requirers)[:_MOST_WAYS_OUT]:
        versions = [one.manifest.version for one in candidates.of(manifest.plugin_id)]
        below = versions.index(manifest.version) - 1
        if below < 0:
            continue
        found = Selection(candidates, wishes, {manifest.plugin_id: below})
        lower = found.chosen.get(manifest.plugin_id)
        if lower is not None and found.unmet() is None and not find_circle(found.needs()):
            asked = f"{manifest.plugin_id} ={lower.manifest.version}"
            return f"with {lower.manifest} instead of {manifest.version} all would fit: ask for {asked} too"
    return ""


def _resolution(found: OptionalNeeds) -> Resolution:
    """What is left when optional edges that close a circle are taken out, with all that only they led to."""
    needs: dict[str, list[str]] = {_REQUEST: [], **{plugin_id: [] for plugin_id in found.chosen}}
    liked = []
    for (requirer, needed), wishes in found.edges.items():
        if all(wish.optional for wish in wishes):
            liked.append((requirer, needed))
        else:
            needs[requirer].append(needed)
    kept, closing = without_circles(needs, liked)
    order = [one for one in reached(kept, _REQUEST) if one != _REQUEST]
    place = {one: number for number, one in enumerate(order)}
    level = levels({one: kept[one] for one in order})
    asked: dict[str, list[Wish]] = {one: [] for one in order}
    for (requirer, needed), wishes in found.edges.items():
        if needed in asked and needed in kept[requirer] and (requirer == _REQUEST or requirer in place):
            asked[needed] += wishes
    manifests = {one: found.chosen[one].manifest for one in order}
    order.sort(key=lambda one: (level[one], -manifests[one].priority, place[one]))
    dropped = [one for one in found.dropped if one.plugin_id in place]
    dropped += [
        Dropped(requirer, _target(found.edges[requirer, needed][0]), f"it needs {requirer} itself: {' -> '.join(way)}")
        for (requirer, needed), way in closing.items()
        if requirer in place
    ]
    return Resolution([Resolved(manifests[one], level[one], asked[one], sorted(kept[one])) for one in order], dropped)


def _target(wish: Wish) -> str:
    return wish.requirement.plugin_id or wish.requirement.interface
