"""What of a definition's text counts: its canonical form and the hash of that."""

from __future__ import annotations

import hashlib

import msgspec

_TEMPLATES = frozenset({"input", "output", "vars", "affinity", "cache", "concurrency"})
"""Keys below which nothing is a step."""


def content_hash(tree: object) -> str:
    """
    SHA-256 of the tree's canonical JSON: comments, layout and the order of keys do not count.

    Where the order decides what a workflow does, it counts: of what a step sets, since each sees those before it, and
    of branches whose values are merged by it.
    """
    return hashlib.sha256(msgspec.json.encode(_canonical(tree), order="sorted")).hexdigest()


def _canonical(tree: object) -> object:
    if isinstance(tree, list):
        return [_canonical(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    merged = tree.get("merge") in ("first", "last")
    found: dict[str, object] = {}
    for key, value in tree.items():
        if key == "set" or (key == "branches" and merged):
            found[key] = _in_order(value)
        else:
            found[key] = value if key in _TEMPLATES else _canonical(value)
    return found


def _in_order(value: object) -> object:
    return [[key, _canonical(inner)] for key, inner in value.items()] if isinstance(value, dict) else value
