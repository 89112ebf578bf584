"""Versions in which a call may have had its effect."""

from __future__ import annotations

from typing import NamedTuple


class Doubt(NamedTuple):
    """A call may have had its effect there; `plugin_id` is empty if it is the one that the step names."""

    plugin_id: str
    version: str


def line_of(version: str) -> str:
    """
    Versions of one line know one another's idempotency keys: "1" for 1.4.2, "0.3" for 0.3.1, as `^` has it.

    What is no version is a line of its own.
    """
    major, _, rest = version.partition("-")[0].partition("+")[0].partition(".")
    if not major.isdecimal():
        return version
    return f"0.{rest.partition('.')[0]}" if major == "0" else major
