"""What must not happen, by name."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from forgemesh.faults import Fault


class Broken(SystemExit):
    """A law does not hold; `law` is its name. Nothing that is simulated can catch it."""

    def __init__(self, law: str, story: str) -> None:
        super().__init__(f"[{law}] {story}")
        self.law = law


class Listener(logging.Handler):
    """Hears what the orchestrator says of itself: mistakes that it caught and called mistakes of its own."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        demand(error is None or isinstance(error, Fault), "nothing raises but faults", record.getMessage(), repr(error))
        demand("this is a bug" not in record.getMessage(), "nothing has to be saved", record.getMessage())


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """While the block runs."""
    logger, listener = logging.getLogger("forgemesh"), Listener(logging.ERROR)
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(listener)
    try:
        yield
    finally:
        logger.removeHandler(listener)
        logger.propagate = propagate


def demand(holds: bool, law: str, *story: object) -> None:
    """Raises Broken unless it holds."""
    if not holds:
        raise Broken(law, " ".join(map(str, story)))
