"""Exceptions that one process may raise and another catch."""

from __future__ import annotations

from typing import Any


class PortableError(Exception):
    """
    An exception that keeps what it says when it is copied or pickled, whatever its constructor takes.

    A plain exception is built again from its text alone. Where its constructor takes something else that fails, and the
    pool of processes in which it was raised breaks or waits for ever.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _blank, (type(self), self.args), self.__dict__ or None


def _blank(kind: type[PortableError], args: tuple[Any, ...]) -> PortableError:
    """One that only has its `args`, made without its constructor."""
    error = kind.__new__(kind)
    error.args = args
    return error
