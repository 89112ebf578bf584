"""The host's own log: whatever the author's code makes of logging, a record never fails what it is about."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import traceback
from typing import Any, TextIO

from forgemesh.chassis.foreign_text import printable_json

_STDERR = 2
_FIRST_PRIVATE = 64
"""Descriptors from here on are those that no program closes, or uses, by their numbers."""


class OwnLogger(logging.Logger):
    """
    A logger none of whose calls raises anything: not if a handler, a filter or a factory of records that the author's
    code has set up raises, nor for an exception that cannot be shown. What cannot be logged as usual is still written
    to standard error, as one line of JSON.
    """

    def _log(self, level: int, msg: object, args: Any, exc_info: Any = None, *more: Any, **named: Any) -> None:
        try:
            super()._log(level, msg, args, exc_info, *more, **named)
        except MemoryError:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever logging calls is the author's code
            with contextlib.suppress(BaseException):
                self._say_plainly(level, str(msg) % args if args else str(msg), exc_info, error)

    def _say_plainly(self, level: int, message: str, exc_info: object, error: BaseException) -> None:
        line = {"level": logging.getLevelName(level), "logger": self.name, "message": message}
        with contextlib.suppress(BaseException):
            line["logging_failed"] = repr(error)
        if isinstance(exc_info, BaseException):
            with contextlib.suppress(BaseException):
                line["exception"] = "".join(traceback.format_exception(exc_info))
        os.write(_STDERR, f"{printable_json(json.dumps(line, ensure_ascii=False))}\n".encode(errors="backslashreplace"))


def speaking_of(plugin_id: str) -> logging.Logger:
    """A logger for what the host says of a plugin: it writes where the plugin's own does."""
    own = OwnLogger(plugin_id)
    own.parent = logging.getLogger(plugin_id)
    return own


def own_stderr() -> TextIO:
    """Standard error, at a descriptor that stays when the author's code closes the one that it knows."""
    descriptor = fcntl.fcntl(_STDERR, fcntl.F_DUPFD_CLOEXEC, _FIRST_PRIVATE)
    return os.fdopen(descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace")
