"""JSON lines on stderr, each with the ids of the work it belongs to."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import TextIO

from forgemesh.chassis.foreign_text import printable_json
from forgemesh.chassis.log_output import LogOutput

_work: ContextVar[Mapping[str, str]] = ContextVar("forgemesh_work", default={})  # noqa: B039 - never changed in place

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


@contextlib.contextmanager
def about(**ids: str) -> Iterator[None]:
    """Every record logged inside carries `ids`, e.g. trace_id, span_id, execution_id."""
    token = _work.set({**_work.get(), **ids})
    try:
        yield
    finally:
        _work.reset(token)


def adopt(ids: Mapping[str, str]) -> None:
    """Every further record of the current context carries `ids`; for a task or thread whose context is its own."""
    _work.set({**_work.get(), **ids})


class JsonFormatter(logging.Formatter):
    """One record, one line of JSON that a terminal may get; extras of the record become keys."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "at": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
            **_work.get(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return printable_json(json.dumps(line, default=str, ensure_ascii=False))


def configure_logs(service: str, level: str = "INFO", stream: TextIO | None = None) -> LogOutput:
    """Send all records of this process to `stream`, or stderr, as JSON lines, and look after them while it lives."""
    output = LogOutput(stream or sys.stderr)
    output.setFormatter(JsonFormatter(service))
    logging.basicConfig(level=level.upper(), handlers=[output], force=True)
    output.keep()
    return output
