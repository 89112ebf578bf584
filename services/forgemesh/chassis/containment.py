"""A loop over members goes on when one of them fails, and names it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType

_log = logging.getLogger(__name__)


class contained:  # noqa: N801 - it reads as a word of its own: with contained("this")
    """
    What the block raises stays in it, and is logged with the name of the `member`; `failed` is told then.

    A class, since each step of each call goes through one: a generator would cost three times as much.
    """

    __slots__ = ("_failed", "_member")

    def __init__(self, member: str, *, failed: Callable[[], None] | None = None) -> None:
        self._member = member
        self._failed = failed

    def __enter__(self) -> None:
        """The block begins."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        _log.error("%s is passed over, the others are not", self._member, exc_info=error)
        if self._failed is not None:
            self._failed()
        return True
