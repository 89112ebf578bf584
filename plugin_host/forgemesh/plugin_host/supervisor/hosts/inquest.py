"""What the end of a process says of the calls that ran in it."""

from __future__ import annotations

import logging
from pathlib import Path

from forgemesh.plugin_host.running_calls import left_running
from forgemesh.plugin_host.supervisor.hosts.blame import Blame
from forgemesh.plugin_host.supervisor.processes.ending import Ending
from forgemesh.plugin_host.supervisor.processes.output import OutputLog

_log = logging.getLogger(__name__)


class Inquest:
    """Of one instance; its process writes into `file` what runs, and `blame` is that of its plugin."""

    def __init__(self, blame: Blame, file: Path) -> None:
        self.file = file.absolute()
        self._blame = blame
        self._is_new = True

    def close(self) -> None:
        """What an earlier process has left says nothing of the next one, also if it cannot be removed."""
        try:
            self.file.unlink(missing_ok=True)
            self._is_new = True
        except OSError as error:
            self._is_new = False
            _log.warning("%s cannot be removed (%s): no call will be blamed for a crash", self.file, error.strerror)

    def crashed(self, last_words: str, at: float) -> bool:
        """The process has ended, which nobody had asked it to; whether that counts against the plugin."""
        return self._blame.crashed(left_running(self.file) if self._is_new else frozenset(), last_words, at)

    def forgive(self) -> None:
        """No call of the plugin is suspected any more."""
        self._blame.forgive()


def reason_of(ending: Ending, log: OutputLog) -> str:
    """How a process ended, with its last words, for people."""
    said = log.last_words
    return f"{ending.text}; last words: {said}" if said else ending.text
