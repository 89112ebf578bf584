"""Sees to it that nothing which hosts have started outlives their supervisor."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_log = logging.getLogger(__name__)

_ROOT = Path(__file__).parents[5]
_PROGRAM = f"import sys; sys.path.append({str(_ROOT)!r}); from {__package__}.orphan_reaper_program import main; main()"
"""It starts fast, without all that is installed."""
FAREWELL = 2.0


class OrphanReaper:
    """A process beside this one, started for the first host that it watches, and again if it is gone."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._watched: dict[int, str] = {}

    def watch(self, pid: int, started: str, *, mark: int, patient: bool) -> None:
        """
        End this process, all of the session that it leads, and what carries `mark`, when the supervisor is dead.

        With `patient` it has a moment to end by itself.
        """
        line = self._watched[pid] = f"{'~' if patient else '+'} {pid} {started} {mark}"
        if self._process is None or self._process.poll() is not None:
            self._begin()
        else:
            self._tell(line)

    def release(self, pid: int) -> None:
        """It has ended."""
        if self._watched.pop(pid, None) is not None:
            self._tell(f"- {pid} 0 0")

    def close(self) -> None:
        """Nothing is left to be watched."""
        if self._process is None or self._process.stdin is None:
            return
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(FAREWELL)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _begin(self) -> None:
        try:
            self._process = subprocess.Popen(
                (sys.executable, "-I", "-S", "-c", _PROGRAM),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
        except OSError as error:
            _log.warning("what hosts have started would outlive this supervisor if it were killed: %s", error)
            return
        for line in self._watched.values():
            self._tell(line)

    def _tell(self, line: str) -> None:
        if self._process is None or self._process.stdin is None:
            return
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except OSError as error:
            _log.warning("the orphan reaper is gone, and is started again with the next host: %s", error)


@contextlib.contextmanager
def reaping_orphans() -> Iterator[OrphanReaper]:
    """An orphan reaper while the block runs."""
    orphan_reaper = OrphanReaper()
    try:
        yield orphan_reaper
    finally:
        orphan_reaper.close()
