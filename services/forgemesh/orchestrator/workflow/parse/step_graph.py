"""The graph of a sequence: which steps come before which, and circles among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence as Listed

from forgemesh.orchestrator.workflow.definition import GROUP_KINDS
from forgemesh.orchestrator.workflow.expressions.template import expressions_in, steps_named_in

_BODIES = ("steps", "otherwise")
"""Keys whose lists are sequences of their own."""

SHOWN = 10
"""Steps at either end of a long circle."""


def ids_of(trees: Listed[object]) -> dict[str, int]:
    """The index of each step that has an id; of several with the same one, the first."""
    indexes: dict[str, int] = {}
    for index, tree in enumerate(trees):
        step_id = tree.get("id") if isinstance(tree, dict) else None
        if isinstance(step_id, str):
            indexes.setdefault(step_id, index)
    return indexes


def before_each(trees: Listed[object], indexes: Mapping[str, int]) -> list[tuple[int, ...]]:
    """The indexes that each step follows: those that it names in `after`, else the step before it in the list."""
    found: list[tuple[int, ...]] = []
    for index, tree in enumerate(trees):
        after = tree.get("after") if isinstance(tree, dict) else None
        if isinstance(after, list):
            named = (indexes[name] for name in after if isinstance(name, str) and name in indexes)
            found.append(tuple(dict.fromkeys(number for number in named if number != index)))
        else:
            found.append((index - 1,) if index else ())
    return found


def ancestors(before: Listed[tuple[int, ...]]) -> list[int]:
    """Of each step, as bits, those that have ended before it begins. `before` has no circle."""
    masks = [0] * len(before)
    for index in _topological(before):
        for source in before[index]:
            masks[index] |= masks[source] | 1 << source
    return masks


def _topological(before: Listed[tuple[int, ...]]) -> list[int]:
    """Every step after those before it (Kahn 1962)."""
    left = [len(sources) for sources in before]
    following: list[list[int]] = [[] for _ in before]
    for index, sources in enumerate(before):
        for source in sources:
            following[source].append(index)
    order = [index for index, count in enumerate(left) if not count]
    for index in order:
        for target in following[index]:
            left[target] -= 1
            if not left[target]:
                order.append(target)
    return order


def cycle_among(trees: Listed[object]) -> tuple[int, list[str]] | None:
    """
    The first steps of a sequence that wait for one another in a circle: the index of one, and the way back to it.

    A step waits for those that it names in `after` or in an expression, and without `after` for the one before it.
    """
    indexes = ids_of(trees)
    uses = {step_id: list(dict.fromkeys(_named_in_step(trees[index]))) for step_id, index in indexes.items()}
    circle = _first_circle(uses)
    if circle is None and any(_has_after(tree) for tree in trees):
        names = {index: step_id for step_id, index in indexes.items()}
        for index, sources in enumerate(before_each(trees, indexes)):
            if index in names:
                uses[names[index]] += [names[source] for source in sources if source in names]
        circle = _first_circle(uses)
    return (indexes[circle[0]], circle) if circle is not None else None


def path_of(circle: Listed[str]) -> str:
    """For people; of a long one its beginning and its end."""
    long = len(circle) > 2 * SHOWN
    return " -> ".join([*circle[:SHOWN], f"({len(circle) - 2 * SHOWN} more)", *circle[-SHOWN:]] if long else circle)


def _has_after(tree: object) -> bool:
    return isinstance(tree, dict) and isinstance(tree.get("after"), list)


def _first_circle(uses: Mapping[str, Listed[str]]) -> list[str] | None:
    finished: set[str] = set()
    for start in uses:
        path = _circle(start, uses, finished)
        if path:
            return path
    return None


def _circle(start: str, uses: Mapping[str, Listed[str]], finished: set[str]) -> list[str]:
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
    """The steps outside it that a step's text names; in what it sets and undoes it may name itself."""
    if not isinstance(tree, dict):
        return
    own = tree.get("id")
    after = tree.get("after")
    yield from (name for name in after if isinstance(name, str)) if isinstance(after, list) else ()
    for key, value in tree.items():
        if key in ("id", "after"):
            continue
        named = _named_in(key, value)
        yield from (name for name in named if name != own) if key in ("set", "compensate") else named


def _named_in(key: str, value: object) -> Iterator[str]:
    if key == "when":
        yield from steps_named_in(value) if isinstance(value, str) else ()
    elif key in _BODIES:
        yield from _named_in_sequence(value)
    elif key == "branches":
        for branch in value.values() if isinstance(value, dict) else ():
            yield from _named_in_sequence(branch)
    elif key in GROUP_KINDS and isinstance(value, dict | list):
        for part in value if isinstance(value, list) else [value]:
            yield from _named_in_part(part) if isinstance(part, dict) else ()
    else:
        for source in expressions_in(value):
            yield from steps_named_in(source)


def _named_in_part(part: dict[str, object]) -> Iterator[str]:
    """Of a kind's own keys; `until` is evaluated where the steps of the round are in sight."""
    for key, value in part.items():
        if key == "until":
            steps = part.get("steps")
            own = ids_of(steps) if isinstance(steps, list) else {}
            yield from (name for name in _named_in("when", value) if name not in own)
        else:
            yield from _named_in(key, value)


def _named_in_sequence(trees: object) -> Iterator[str]:
    """The same of a branch: what its own steps are called means them and nobody outside."""
    if not isinstance(trees, list):
        return
    own = ids_of(trees)
    for tree in trees:
        yield from (name for name in _named_in_step(tree) if name not in own)
