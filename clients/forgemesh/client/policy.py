"""How steps are called, tried again, undone and kept, as authors of workflows say it in Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Literal, TypeAlias

from forgemesh.client.expression import template

Length: TypeAlias = str | timedelta
"""A length of time, such as "200ms", "5s", "1.5m", "1h" or "1d"."""


@dataclass(frozen=True, kw_only=True)
class Retry:
    """When a failed attempt is followed by another."""

    max_attempts: int | None = None
    initial: Length | None = None
    coefficient: float | None = None
    max_interval: Length | None = None
    non_retryable: Sequence[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """How long a call may take."""

    start_to_close: Length | None = None
    schedule_to_start: Length | None = None
    schedule_to_close: Length | None = None
    heartbeat: Length | None = None


@dataclass(frozen=True, kw_only=True)
class Cache:
    """How long an output may be used again; equal keys, or without one equal inputs, have the same output."""

    ttl: Length
    key: object = None


@dataclass(frozen=True, kw_only=True)
class Concurrency:
    """At most `limit` executions with the same key run at once; `key` is over the input."""

    key: object
    limit: int | None = None
    on_conflict: Literal["queue", "cancel_in_progress", "cancel_newest"] | None = None


@dataclass(frozen=True, kw_only=True)
class Target:
    """
    Whom to call: a plugin's id or an interface's name, each with a range of versions behind `@` if not every one will
    do; `must` and `prefer` are facts about the provider of an interface.
    """

    plugin: str | None = None
    interface: str | None = None
    operation: str
    must: Mapping[str, str] | None = None
    prefer: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Compensation(Target):
    """The call that undoes a step; its input sees the step's own output, and `flow.error`."""

    input: object = None
    retry: Retry | None = None
    timeouts: Timeouts | None = None


Policy: TypeAlias = Retry | Timeouts | Cache | Concurrency | Target


def tree_of(policy: Policy) -> dict[str, object]:
    """As the language writes it; what is None is left out."""
    said = {field.name: getattr(policy, field.name) for field in fields(policy)}
    tree = {key: _value(value) for key, value in said.items() if value is not None}
    select = {key: tree.pop(key) for key in ("must", "prefer") if key in tree}
    return tree | ({"select": select} if select else {})


def length(value: Length) -> str:
    """A length of time as the language writes it."""
    if isinstance(value, str):
        return value
    seconds = value.total_seconds()
    return f"{seconds:.0f}s" if seconds.is_integer() else f"{seconds * 1000:.15g}ms"


def _value(value: object) -> object:
    if isinstance(value, timedelta):
        return length(value)
    if isinstance(value, Retry | Timeouts):
        return tree_of(value)
    return template(value)
