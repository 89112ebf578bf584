"""The version under which a plugin that is still being written is served."""

from __future__ import annotations

from collections.abc import Mapping

_BUILD = "dev"


def draft_version(version: str, content: bytes, published: Mapping[str, bytes]) -> str:
    """
    The version itself, unless it is published with another content: then with a build number, like 1.0.0+dev.001.

    The same content always gets the same number. `content` and `published`, which is by version, leave the version out.
    """
    candidate, number = version, 0
    while published.get(candidate, content) != content:
        number += 1
        candidate = f"{version}{'.' if '+' in version else '+'}{_BUILD}.{number:03}"
    return candidate
