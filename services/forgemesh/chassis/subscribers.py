"""Several that are told when one thing happens."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Generic, ParamSpec

P = ParamSpec("P")

_log = logging.getLogger(__name__)


class Subscribers(Generic[P]):
    """
    Those who want to know of one kind of event, told in the order in which they came.

    What one of them raises is logged with the `event`, in words, and the name of whoever raised it: neither the others
    nor whoever tells it notice. Those who come or go while the event is told count from the next one on.
    """

    __slots__ = ("_event", "_told")

    def __init__(self, event: str, *told: Callable[P, object]) -> None:
        self._event = event
        self._told = told

    def add(self, told: Callable[P, object]) -> None:
        """It is told from now on, behind those that are there; one that comes twice is told twice."""
        self._told = (*self._told, told)

    def remove(self, told: Callable[P, object]) -> None:
        """It is not told any more; one that is not there is gone already."""
        self._told = tuple(one for one in self._told if one != told)

    def tell(self, *given: P.args, **named: P.kwargs) -> None:
        """It has happened; never raises an Exception."""
        for told in self._told:
            try:
                told(*given, **named)
            except Exception:  # noqa: BLE001 - whatever it is
                name = getattr(told, "__qualname__", type(told).__name__)
                _log.exception("%s could not be told of %s; the others are", name, self._event)
