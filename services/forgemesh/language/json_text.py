"""A workflow's tree as JSON text that every reader of YAML takes too."""

from __future__ import annotations

import re

import msgspec

_UNPRINTABLE = re.compile("[\x7f-\x9f\ufdd0-\ufdef\u2028\u2029\ufeff\ufffe\uffff]")
"""Allowed in JSON as they are; YAML wants them written out. They stand in texts alone."""


def json_text(tree: object, *, indent: int = 0) -> str:
    """On one line if `indent` is 0; templates that are msgspec.Raw are taken over as they are."""
    encoded = msgspec.json.encode(tree)
    text = (msgspec.json.format(encoded, indent=indent) if indent else encoded).decode()
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
