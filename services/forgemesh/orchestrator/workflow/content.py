"""What of a definition's text counts: its canonical form and the hash of that."""

from __future__ import annotations

import hashlib

import msgspec

_VALUES = frozenset({"input", "output", "vars", "affinity", "key", "over", "until"})
"""Keys whose values are data: null is a value there, and 2 is not 2.0."""


def content_hash(tree: object) -> str:
    """
    SHA-256 of the tree's canonical JSON: comments, layout, the order of keys, and keys that are null do not count.

    Where the order decides what a workflow does, it counts: of what a step sets, since each sees those before it, and
    of branches whose values are merged by it.
    """
    return hashlib.sha256(msgspec.json.encode(_canonical(tree), order="sorted")).hexdigest()


def _canonical(tree: object) -> object:
    if isinstance(tree, list):
        return [_canonical(item) for item in tree]
    if isinstance(tree, float) and tree.is_integer():
        return int(tree)
    if not isinstance(tree, dict):
        return tree
    merged = tree.get("merge") in ("first", "last")
    return {key: _value(key, value, merged=merged) for key, value in tree.items() if value is not None}


def _value(key: str, value: object, *, merged: bool) -> object:
    if key in _VALUES:
        return value
    if key == "set" and isinstance(value, dict):
        return [list(item) for item in value.items()]
    if key == "branches" and isinstance(value, dict):
        branches = {name: _canonical(steps) for name, steps in value.items()}
        return [list(branch) for branch in branches.items()] if merged else branches
    return _canonical(value)
