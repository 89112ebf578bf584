"""Where and how an attempt ran."""

from __future__ import annotations

import msgspec


class Dispatch(msgspec.Struct, frozen=True, kw_only=True):
    """
    Where and how a try ran; `plugin_id` is empty if it is the one that the step names, `cached`: nowhere at all.

    `trial`: on a half-open circuit; `hedged_with` is an instance that was called as well, whose answer did not count.
    """

    instance_id: str
    incarnation: int
    plugin_version: str
    at: int
    plugin_id: str = ""
    policy: str = "round_robin"
    candidates: int = 0
    eligible: int = 0
    excluded: tuple[str, ...] = ()
    session: bool = True
    accepted: bool = True
    cached: bool = False
    trial: bool = False
    hedged_with: str = ""
