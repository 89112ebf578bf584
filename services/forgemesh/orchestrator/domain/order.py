"""Which steps of a sequence use which others, as their texts say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from forgemesh.orchestrator.domain.template import expressions_in, steps_named_in


def cycle_among(trees: Sequence[object]) -> tuple[int, list[str]] | None:
    """The first steps of a sequence that use one another in a circle: the index of one, and the way back to it."""
    uses: dict[str, list[str]] = {}
    indexes: dict[str, int] = {}
    for index, tree in enumerate(trees):
        step_id = tree.get("id") if isinstance(tree, dict) else None
        if isinstance(step_id, str):
            indexes.setdefault(step_id, index)
            uses.setdefault(step_id, []).extend(_named_in_step(tree))
    finished: set[str] = set()
    for start, index in indexes.items():
        path = _circle(start, uses, finished)
        if path:
            return index, path
    return None


def _circle(start: str, uses: Mapping[str, Sequence[str]], finished: set[str]) -> list[str]:
    """Depth first without recursion; what is in `finished` leads into no circle."""
    path = {start: iter(uses[start])}
    while path:
        at = next(reversed(path))
        following = next((name for name in path[at] if name in uses and name not in finished), None)
        if following is None:
            finished.add(at)
            del path[at]
        elif following in path:
            names = list(path)
            return [*names[names.index(following) :], following]
        else:
            path[following] = iter(uses[following])
    return []


def _named_in_step(tree: object) -> Iterator[str]:
    """The steps outside it that a step's text names."""
    if not isinstance(tree, dict):
        return
    for source in expressions_in(tree.get("input")):
        yield from steps_named_in(source)
    cases = tree.get("switch")
    for case in cases if isinstance(cases, list) else ():
        if isinstance(case, dict):
            yield from steps_named_in(str(case.get("when", "")))
            yield from _named_in_sequence(case.get("steps"))
            yield from _named_in_sequence(case.get("otherwise"))
    group = tree.get("parallel")
    branches = group.get("branches") if isinstance(group, dict) else None
    for branch in branches.values() if isinstance(branches, dict) else ():
        yield from _named_in_sequence(branch)


def _named_in_sequence(trees: object) -> Iterator[str]:
    """The same of a branch: what its own steps are called means them and nobody outside."""
    if not isinstance(trees, list):
        return
    own = {tree["id"] for tree in trees if isinstance(tree, dict) and isinstance(tree.get("id"), str)}
    for tree in trees:
        yield from (name for name in _named_in_step(tree) if name not in own)
