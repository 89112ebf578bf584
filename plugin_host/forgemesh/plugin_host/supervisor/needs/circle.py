"""Circles in a directed graph, found without recursion."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence


def components(edges: Mapping[str, Collection[str]]) -> list[list[str]]:
    """The strongly connected components, each after those that it points to (Tarjan's algorithm, iterative)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    found: list[list[str]] = []

    def enter(node: str) -> tuple[str, Iterator[str]]:
        number[node] = low[node] = len(number)
        stack.append(node)
        on_stack.add(node)
        return node, iter(edges.get(node, ()))

    for root in edges:
        if root in number:
            continue
        work = [enter(root)]
        while work:
            node, following = work[-1]
            target = next(following, None)
            if target is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == number[node]:
                    at = _last(stack, node)
                    found.append(stack[at:])
                    on_stack.difference_update(stack[at:])
                    del stack[at:]
            elif target not in number:
                work.append(enter(target))
            elif target in on_stack:
                low[node] = min(low[node], number[target])
    return found


def circle_in(edges: Mapping[str, Collection[str]], component: Sequence[str]) -> list[str]:
    """One way around inside a component, from its first node back to it."""
    inside = set(component)
    start = component[0]
    came_from: dict[str, str] = {}
    queue = [start]
    for node in queue:
        for target in edges.get(node, ()):
            if target == start:
                path = [start, node]
                while path[-1] != start:
                    path.append(came_from[path[-1]])
                return [start, *reversed(path[1:-1]), start] if node != start else [start, start]
            if target in inside and target not in came_from:
                came_from[target] = node
                queue.append(target)
    return []


def _last(stack: Sequence[str], node: str) -> int:
    at = len(stack) - 1
    while stack[at] != node:
        at -= 1
    return at
