"""Answers that are on record."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """
    What a request id got that is not on record by itself, as the execution that it created is: an execution that was
    open, or starts of a schedule (`key` is the store's name for either). `content` is a hash of what it asked for.
    """

    namespace: str
    request_id: str
    content: str
    at: int
    execution_key: int = 0
    schedule_key: int = 0
