"""Who was refused a registration lately: of a process that serves nobody nothing else is seen."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from forgemesh.faults import Code, Fault, code_of, reason_of
from forgemesh.registry.ports import Clock

MOST = 100
"""How many are remembered; then the oldest goes."""
LASTING = 600.0
"""Seconds after which one is forgotten that was not repeated."""
_LONGEST_NAME, _LONGEST_MESSAGE = 128, 512
"""Characters that are kept of what is refused, perhaps for its length."""


@dataclass(frozen=True, slots=True)
class Applicant:
    """Who wants to register, as it says itself; and the host that it asks from."""

    instance_id: str
    plugin_id: str
    plugin_version: str
    peer: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was said to an applicant last; moments are seconds since 1970, but `until` is on a clock of its own."""

    applicant: Applicant
    reason: str
    message: str
    first_at: float
    last_at: float
    until: float
    count: int = 1


_Key: TypeAlias = tuple[str, str]


class Refusals:
    """Kept in memory only, one for each instance id and host; a registration of that id ends it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[_Key, Refusal] = {}

    @contextlib.contextmanager
    def noting(self, applicant: Applicant) -> Iterator[None]:
        """Remember the Fault with which the block refuses; that the registry itself cannot do it is none."""
        try:
            yield
        except Fault as fault:
            if applicant.instance_id and code_of(fault) is not Code.UNAVAILABLE:
                self._note(applicant, fault)
            raise

    def forget(self, instance_id: str) -> None:
        """An instance of this id is registered."""
        self._known = {key: one for key, one in self._known.items() if key[0] != instance_id}

    def lately(self, plugin_id: str = "") -> Sequence[Refusal]:
        """Those of a plugin, or all; the latest first."""
        now = self._clock.monotonic()
        found = (one for one in self._known.values() if one.until > now)
        return [one for one in reversed([*found]) if plugin_id in ("", one.applicant.plugin_id)]

    def _note(self, applicant: Applicant, fault: Fault) -> None:
        named = _cut(applicant)
        at, until = self._clock.wall(), self._clock.monotonic() + LASTING
        refusal = Refusal(named, reason_of(fault), fault.message[:_LONGEST_MESSAGE], at, at, until)
        key = named.instance_id, named.peer
        before = self._known.pop(key, None)  # it comes back as the latest
        if before is not None and (before.applicant, before.reason) == (named, refusal.reason):
            refusal = replace(refusal, first_at=before.first_at, count=before.count + 1)
        self._known[key] = refusal
        if len(self._known) > MOST:
            del self._known[next(iter(self._known))]


def _cut(applicant: Applicant) -> Applicant:
    return Applicant(
        applicant.instance_id[:_LONGEST_NAME],
        applicant.plugin_id[:_LONGEST_NAME],
        applicant.plugin_version[:_LONGEST_NAME],
        applicant.peer[:_LONGEST_NAME],
    )
