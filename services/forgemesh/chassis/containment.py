"""A loop over members goes on when one of them fails, and names it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def contained(member: str, *, failed: Callable[[], None] | None = None) -> Iterator[None]:
    """What the block raises stays in it, and is logged with the name of the `member`; `failed` is told then."""
    try:
        yield
    except Exception:  # noqa: BLE001 - the seam between one member and the others
        _log.exception("%s is passed over, the others are not", member)
        if failed is not None:
            failed()
