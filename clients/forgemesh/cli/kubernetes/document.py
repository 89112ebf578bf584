"""Objects as YAML that every reader of YAML takes for the same: 1.1 and 1.2, in Python and in Go."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./=-]*(?:[ :][A-Za-z0-9_./=-]+)*")
"""Texts that begin like no number; what other versions of YAML take for something else is in quotes as well."""
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})


class _Writer(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(writer: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = _PLAIN.fullmatch(text) is not None and text.lower() not in _WORDS
    return writer.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Writer.add_representer(str, _text)


def document_of(objects: Iterable[dict[str, Any]]) -> str:
    """The objects as one text of several documents, in ASCII."""
    return yaml.dump_all(
        objects,
        Dumper=_Writer,
        sort_keys=False,
        explicit_start=True,
        default_flow_style=False,
        width=float("inf"),
    )
