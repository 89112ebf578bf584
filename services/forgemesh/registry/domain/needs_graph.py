"""Who needs whom in a resolution: circles, levels, and the optional edges that close a circle."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

Member = TypeVar("Member", bound=Hashable)


def find_circle(needs: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """One circle, its first member again at the end; empty if there is none."""
    left = _left_over(needs)
    if not left:
        return []
    place: dict[str, int] = {}
    way: list[str] = []
    one = next(iter(left))
    while one not in place:
        place[one] = len(way)
        way.append(one)
        one = next(needed for needed in needs[one] if needed in left)
    return [*way[place[one] :], one]


def levels(needs: Mapping[str, Sequence[str]]) -> Mapping[str, int]:
    """The level of each member: one above the highest that it needs, from 0; there must be no circle."""
    found: dict[str, int] = {}
    for one in _needed_first(needs):
        found[one] = max((found[needed] + 1 for needed in needs[one]), default=0)
    return found


def reached(needs: Mapping[str, Sequence[str]], start: str) -> Sequence[str]:
    """Everything that `start` leads to, itself first, the nearest first."""
    found = {start: None}
    waiting = [start]
    for one in waiting:
        for needed in needs[one]:
            if needed not in found:
                found[needed] = None
                waiting.append(needed)
    return waiting


def without_circles(
    needs: Mapping[str, Sequence[str]], optional: Iterable[tuple[str, str]]
) -> tuple[Mapping[str, Sequence[str]], Mapping[tuple[str, str], Sequence[str]]]:
    """
    The needs with every optional edge that closes no circle; the others with the way back that they would have closed.

    Edges that come first are kept first. Only those inside a strongly connected part are looked at one by one.
    """
    wanted = list(dict.fromkeys(optional))
    kept: dict[str, list[str]] = {one: list(needed) for one, needed in needs.items()}
    everything = {one: list(needed) for one, needed in needs.items()}
    for requirer, needed in wanted:
        everything[requirer].append(needed)
    part = parts(everything)
    closing: dict[tuple[str, str], Sequence[str]] = {}
    for requirer, needed in wanted:
        back = _way(kept, part, needed, requirer) if part[requirer] == part[needed] else []
        if back:
            closing[requirer, needed] = back
        elif needed not in kept[requirer]:
            kept[requirer].append(needed)
    return kept, closing


def _left_over(needs: Mapping[str, Sequence[str]]) -> dict[str, None]:
    """What needs a circle or is in one, in the given order; each needs another of them."""
    sorted_out = set(_needed_first(needs))
    return {one: None for one in needs if one not in sorted_out}


def _needed_first(needs: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """Everything that needs no circle, each after what it needs."""
    missing = {one: len(needed) for one, needed in needs.items()}
    needed_by: dict[str, list[str]] = {one: [] for one in needs}
    for one, needed in needs.items():
        for other in needed:
            needed_by[other].append(one)
    ready = [one for one, count in missing.items() if count == 0]
    for one in ready:
        for requirer in needed_by[one]:
            missing[requirer] -= 1
            if missing[requirer] == 0:
                ready.append(requirer)
    return ready


def _way(needs: Mapping[str, Sequence[str]], part: Mapping[str, int], start: str, goal: str) -> Sequence[str]:
    """A shortest way inside a strongly connected part; empty if there is none."""
    came: dict[str, str] = {start: ""}
    waiting = [start]
    for one in waiting:
        if one == goal:
            way = [one]
            while came[way[-1]]:
                way.append(came[way[-1]])
            return way[::-1]
        for needed in needs[one]:
            if needed not in came and part[needed] == part[goal]:
                came[needed] = one
                waiting.append(needed)
    return []


def parts(needs: Mapping[Member, Sequence[Member]]) -> Mapping[Member, int]:
    """A number for each strongly connected part (Kosaraju's algorithm)."""
    needed_by: dict[Member, list[Member]] = {one: [] for one in needs}
    for one, needed in needs.items():
        for other in needed:
            needed_by[other].append(one)
    part: dict[Member, int] = {}
    for one in reversed(finished(needs, needs)):
        if one in part:
            continue
        part[one] = number = len(part)
        waiting = [one]
        while waiting:
            for requirer in needed_by[waiting.pop()]:
                if requirer not in part:
                    part[requirer] = number
                    waiting.append(requirer)
    return part


def finished(needs: Mapping[Member, Sequence[Member]], starts: Iterable[Member]) -> list[Member]:
    """What is reached, in the order in which a search in depth leaves it: after what it leads to, unless in circles."""
    done: list[Member] = []
    seen: set[Member] = set()
    for start in starts:
        if start in seen:
            continue
        seen.add(start)
        way = [(start, iter(needs[start]))]
        while way:
            one, rest = way[-1]
            following = next((needed for needed in rest if needed not in seen), None)
            if following is None:
                done.append(one)
                way.pop()
            else:
                seen.add(following)
                way.append((following, iter(needs[following])))
    return done
