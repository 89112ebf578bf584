"""The process in which the engine of a workflow environment runs, and the pipe to it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
from typing import IO, Any, Self

from forgemesh.testing.problem import WorkflowEnvironmentError

GRACE = 2.0
"""Seconds that the process has to end by itself once nobody speaks to it any more."""
SHOWN = 4_000


class Worker:
    """
    One JSON object a line in each direction, see forgemesh.orchestrator.simulation.pipe.

    `patience` is how many real seconds an answer may take; a process that takes longer is killed.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._complaints: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close
        self._process = subprocess.Popen(
            [sys.executable, "-m", "forgemesh.orchestrator.simulation"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
        )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def say(self, kind: str, content: object) -> None:
        """Tell the process; raises ValueError or TypeError for what JSON cannot say."""
        assert self._process.stdin is not None
        text = json.dumps({kind: content}, allow_nan=False, separators=(",", ":"))
        with contextlib.suppress(BrokenPipeError):  # why it is gone shows when it is heard
            self._process.stdin.write(text.encode() + b"\n")
            self._process.stdin.flush()

    def hear(self) -> tuple[str, dict[str, Any]]:
        """The next thing that it says: what it is, and the rest. Raises WorkflowEnvironmentError if it ends."""
        assert self._process.stdout is not None
        alarm = threading.Timer(self._patience, self._process.kill)
        alarm.daemon = True
        alarm.start()
        try:
            text = self._process.stdout.readline()
        finally:
            alarm.cancel()
        if not text.endswith(b"\n"):
            raise WorkflowEnvironmentError(self._end())
        ((kind, content),) = json.loads(text).items()
        return kind, content

    def _end(self) -> str:
        status = self._process.wait()
        self._complaints.seek(0)
        said = self._complaints.read().decode(errors="replace")[-SHOWN:].strip()
        if status < 0 and not said:
            return (
                f"the workflow environment did nothing for {self._patience:g} s and was stopped; give it more time with"
                " WorkflowEnvironment(..., patience=SECONDS) if the machine is that busy"
            )
        return f"the process of the workflow environment ended with status {status}; it said:\n{said}"

    def close(self) -> None:
        """The process is gone when this returns."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._complaints.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
