"""Lets the plugins keep their own account of what they were asked to do."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol


class Call(Protocol):
    """What the ledger notes about a call. A plugin's Context has all of it."""

    @property
    def execution_id(self) -> str: ...
    @property
    def step_path(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def idempotency_key(self) -> str: ...


@contextmanager
def entered(plugin: str, operation: str, call: Call) -> Iterator[None]:
    """
    Notes start and end of a call in `<WEATHER_LEDGER>/<plugin>-<pid>.jsonl`, if that variable is set.

    A start without an end is a call that died with its process: a failing or cancelled one still ends.
    """
    directory = os.environ.get("WEATHER_LEDGER")
    if not directory:
        yield
        return
    _note(directory, plugin, "start", operation, call)
    try:
        yield
    finally:
        _note(directory, plugin, "end", operation, call)


def _note(directory: str, plugin: str, event: str, operation: str, call: Call) -> None:
    line = {
        "event": event,
        "operation": operation,
        "execution_id": call.execution_id,
        "step_path": call.step_path,
        "attempt": call.attempt,
        "idempotency_key": call.idempotency_key,
        "at_ns": time.time_ns(),
        "pid": os.getpid(),
    }
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    # One write to a file opened for appending: threads cannot tear each other's lines apart.
    ledger = os.open(folder / f"{plugin}-{os.getpid()}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(ledger, json.dumps(line).encode() + b"\n")
    finally:
        os.close(ledger)
