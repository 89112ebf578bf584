"""The states of one call in flight, and which of them follows what happens to it."""

from __future__ import annotations

from enum import IntEnum, auto, unique
from types import MappingProxyType


@unique
class CallState(IntEnum):
    """Where a call stands. (Whole numbers, since one is looked up several times for every step.)"""

    WAITING = auto()
    """In its target queue, or on the way into it: no instance has it."""
    SENT = auto()
    """With one instance."""
    HEDGED = auto()
    """With two instances, of which the first good answer counts."""
    CANCELLING = auto()
    """With one instance, that was told to stop."""
    OVER = auto()
    """Nobody looks after it any more; what still comes changes nothing."""


@unique
class CallEvent(IntEnum):
    """What happens to a call."""

    LEFT = auto()
    """It was given to an instance."""
    SECOND_LEFT = auto()
    """It was given to another instance as well."""
    DECIDED = auto()
    """An answer came, and another one could not be better: an output, or a failure that is not to be repeated."""
    FAILED = auto()
    """An answer came that says that it may be tried again."""
    UNSENT = auto()
    """The link gave it back: its host never saw it."""
    CALLED_OFF = auto()
    """The second call is taken back, while the first one goes on."""
    CANCELLED = auto()
    """Who asked for it has taken it back, and waits for its end."""
    TIMED_OUT = auto()
    """One of its deadlines is over."""
    REFUSED = auto()
    """What it waits for does not come by itself."""
    FORGOTTEN = auto()
    """Nobody wants to know what becomes of it, or the next process takes it up."""


class ImpossibleEvent(Exception):
    """This cannot happen to a call that stands so: a bug."""

    def __init__(self, state: CallState, event: CallEvent) -> None:
        super().__init__(f"{event.name} happened to a call that is {state.name}")


class _Next(dict[CallEvent, CallState]):
    """What follows a state, by event."""

    def __init__(self, state: CallState, next_by_event: dict[CallEvent, CallState]) -> None:
        super().__init__(next_by_event)
        self._state = state

    def __missing__(self, event: CallEvent) -> CallState:
        raise ImpossibleEvent(self._state, event)


_S, _E = CallState, CallEvent
_NEXT_BY_STATE: dict[CallState, dict[CallEvent, CallState]] = {
    _S.WAITING: {
        _E.LEFT: _S.SENT,
        _E.CANCELLED: _S.OVER,
        _E.TIMED_OUT: _S.OVER,
        _E.REFUSED: _S.OVER,
        _E.FORGOTTEN: _S.OVER,
    },
    _S.SENT: {
        _E.SECOND_LEFT: _S.HEDGED,
        _E.DECIDED: _S.OVER,
        _E.FAILED: _S.OVER,
        _E.UNSENT: _S.WAITING,
        _E.CANCELLED: _S.CANCELLING,
        _E.TIMED_OUT: _S.OVER,
        _E.FORGOTTEN: _S.OVER,
    },
    _S.HEDGED: {
        _E.DECIDED: _S.OVER,
        _E.FAILED: _S.SENT,
        _E.UNSENT: _S.SENT,
        _E.CALLED_OFF: _S.SENT,
        _E.CANCELLED: _S.CANCELLING,
        _E.FORGOTTEN: _S.OVER,
    },
    _S.CANCELLING: {
        _E.DECIDED: _S.OVER,
        _E.FAILED: _S.OVER,
        _E.UNSENT: _S.OVER,
        _E.TIMED_OUT: _S.OVER,
        _E.FORGOTTEN: _S.OVER,
    },
    _S.OVER: {},
}
AFTER = MappingProxyType({state: _Next(state, following) for state, following in _NEXT_BY_STATE.items()})
"""By state and event, how the call stands then; raises ImpossibleEvent. (No function: each step asks twice.)"""
