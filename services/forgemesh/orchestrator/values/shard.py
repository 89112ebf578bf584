"""Shards: parts of all executions, each with one owner at a time."""

from __future__ import annotations

from typing import NamedTuple

SOLE = 0
"""The one shard that there is as long as one process owns all executions."""


class Shard(NamedTuple):
    """
    A shard as its owner has it. `epoch` grows with every owner, and each write names the one that it is made under: of
    an owner that another one has replaced nothing is kept.
    """

    id: int
    epoch: int
