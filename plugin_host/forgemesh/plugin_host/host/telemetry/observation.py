"""Telemetry never fails what it observes."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec

_log = logging.getLogger(__name__)

P = ParamSpec("P")


def observing(method: Callable[P, None]) -> Callable[P, None]:
    """Whatever the method raises is logged, and kept from its caller."""

    @functools.wraps(method)
    def observed(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(*args, **kwargs)
        except BaseException:  # noqa: BLE001 - it reads what the author's code made
            _log.warning("%s failed; what it was to tell is lost", method.__qualname__, exc_info=True)

    return observed
