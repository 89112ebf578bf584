"""What plugins would like to have beside what they need, as far as it fits to that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from forgemesh.registry.domain.candidates import Candidates
from forgemesh.registry.domain.catalogue import Catalogue, Release
from forgemesh.registry.domain.manifest import Requirement
from forgemesh.registry.domain.needs_graph import find_circle
from forgemesh.registry.domain.resolution import Dropped, Wish
from forgemesh.registry.domain.rules import Rules
from forgemesh.registry.domain.selection import Selection

_MOST_NAMED = 5


class OptionalNeeds:
    """
    The chosen releases and who asked for them, optional wishes included; those never change what is needed.

    What is liked and not there yet is taken in with everything that it needs, in the highest version that suits those
    who like it; if that cannot be, or does not fit to what is there, the wish is dropped, with the reason.
    """

    def __init__(self, catalogue: Catalogue, rules: Rules, needed: Selection) -> None:
        self._catalogue = catalogue
        self._rules = rules
        self._candidates = Candidates(catalogue, rules)
        self._vain: dict[Requirement, str] = {}
        self.chosen: dict[str, Release] = {}
        self.edges: dict[tuple[str, str], list[Wish]] = {}
        """By requirer, empty for the request, and by what it needs."""
        self.dropped: list[Dropped] = []
        self._take_in(needed)
        looked_at = 0
        while looked_at < len(self.chosen):
            fresh = list(self.chosen.values())[looked_at:]
            looked_at = len(self.chosen)
            self._look_at([wish for release in fresh for wish in _liked(release)])

    def _look_at(self, wishes: Sequence[Wish]) -> None:
        for wish in wishes:
            found = self._present(wish) or self._fetched(wish, wishes)
            if found:
                assert wish.by is not None
                self.edges.setdefault((wish.by.plugin_id, found), []).append(wish)

    def _present(self, wish: Wish) -> str:
        """Who of those that are there fulfils the wish; empty if nobody."""
        wanted = wish.requirement
        possible = [wanted.plugin_id] if wanted.plugin_id else self._candidates.providers(wanted.interface)
        able = [
            self.chosen[one].manifest
            for one in possible
            if one in self.chosen and self._candidates.accepted(wanted, self.chosen[one]) and not _is_own(wish, one)
        ]
        return max(able, key=lambda one: one.priority).plugin_id if able else ""

    def _fetched(self, wish: Wish, others: Sequence[Wish]) -> str:
        """What is taken in to fulfil the wish; empty if that cannot be."""
        reason = self._vain.get(wish.requirement, "")
        if not reason:
            candidates = Candidates(self._catalogue, self._rules, self.chosen)
            selection = Selection(candidates, self._together(candidates, wish, others))
            reason = _reason(candidates, selection, wish)
            if not reason:
                self._take_in(selection)
                found = self._present(wish)
                if found:
                    return found
                self._drop(wish, "it cannot be fulfilled by itself")
                return ""
            self._vain[wish.requirement] = reason
        self._drop(wish, reason)
        return ""

    def _together(self, candidates: Candidates, wish: Wish, others: Sequence[Wish]) -> Sequence[Wish]:
        """The wish, and of the other wishes for the same plugin as many as fit to it and to those before them."""
        plugin_id = wish.requirement.plugin_id
        taken = [wish]
        for other in others:
            if not plugin_id or other.requirement.plugin_id != plugin_id or other is wish:
                continue
            if candidates.highest(plugin_id, [one.requirement for one in (*taken, other)]) is not None:
                taken.append(other)
        return taken

    def _take_in(self, selection: Selection) -> None:
        for plugin_id, release in selection.chosen.items():
            if plugin_id not in self.chosen:
                self.chosen[plugin_id] = release
        for requirer, needed, wish in selection.edges():
            if wish.by is None or not wish.optional:
                self.edges.setdefault((requirer, needed), []).append(wish)

    def _drop(self, wish: Wish, reason: str) -> None:
        assert wish.by is not None
        target = wish.requirement.plugin_id or wish.requirement.interface
        self.dropped.append(Dropped(wish.by.plugin_id, target, reason))


def _liked(release: Release) -> Iterator[Wish]:
    for dependency in release.manifest.dependencies:
        if dependency.optional:
            yield Wish(dependency.requirement, release.manifest, optional=True)


def _is_own(wish: Wish, plugin_id: str) -> bool:
    return wish.by is not None and wish.by.plugin_id == plugin_id


def _reason(candidates: Candidates, selection: Selection, wish: Wish) -> str:
    """Why the wish cannot be fulfilled; empty if it can."""
    unmet, target = selection.unmet(), wish.requirement.plugin_id or wish.requirement.interface
    if unmet is None:
        circle = find_circle(selection.needs())
        return f"{target} needs plugins that need one another in a circle: {' -> '.join(circle)}" if circle else ""
    known = ", ".join(candidates.published(unmet.published)[:_MOST_NAMED])
    if unmet.target != wish.requirement.target:
        cause = "of which no version fits" if known else "which was never published"
        return f"{target} itself needs {unmet.target}, {cause}"
    wanted = wish.requirement.version_range or "any version"
    return f"no version that can be taken fits {wanted}; published: {known}" if known else "it was never published"
