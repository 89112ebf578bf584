"""Running the author's code: what comes out of it, whatever that is, and what it says."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from forgemesh.plugin_host.host.plugin.forks import Origin
from forgemesh.plugin_host.scope import is_cancellation


class AuthorsCodeEnded(Exception):
    """The author's code raised what is no Exception (SystemExit, KeyboardInterrupt, a CancelledError of its own)."""


@contextlib.contextmanager
def authors_code() -> Iterator[Origin]:
    """Whatever the block raises comes out as an Exception, but for a cancellation of the current task."""
    origin = Origin()
    try:
        yield origin
    except BaseException as error:
        origin.end_copy(error)
        if isinstance(error, Exception) or is_cancellation(error):
            raise
        raise AuthorsCodeEnded(said_of(error)) from error
    origin.end_copy()


async def called(hook: Callable[..., Any], *arguments: Any) -> Any:
    """What a hook gives, whether it is asynchronous or not; raises as `authors_code` does."""
    with authors_code() as origin:
        result = hook(*arguments)
        return await origin.awaited(result) if inspect.isawaitable(result) else result


def name_of(error: BaseException) -> str:
    """The name of an exception's class, also if that cannot be asked."""
    try:
        return str(type(error).__name__)
    except BaseException:  # noqa: BLE001 - the author wrote its metaclass
        return "an exception whose class does not say its name"


def said_of(error: BaseException) -> str:
    """What an exception says, with its name; only the name if it cannot be asked."""
    name = name_of(error)
    try:
        said = str(error)
    except BaseException:  # noqa: BLE001 - the author wrote it
        return name
    if isinstance(error, AuthorsCodeEnded):
        return said
    return f"{name}: {said}" if said else name
