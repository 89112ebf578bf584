"""What the end of a process says of the calls that ran in it."""

from __future__ import annotations

from pathlib import Path

from forgemesh.plugin_host.running_calls import left_running
from forgemesh.plugin_host.supervisor.domain.blame import Blame
from forgemesh.plugin_host.supervisor.domain.ending import Ending
from forgemesh.plugin_host.supervisor.output import OutputLog


class Inquest:
    """Of one instance; its process writes into `file` what runs, and `blame` is that of its plugin."""

    def __init__(self, blame: Blame, file: Path) -> None:
        self.file = file.absolute()
        self._blame = blame

    def close(self) -> None:
        """What an earlier process has left says nothing of the next one."""
        self.file.unlink(missing_ok=True)

    def crashed(self, last_words: str, at: float) -> bool:
        """The process has ended, which nobody had asked it to; whether that counts against the plugin."""
        return self._blame.crashed(left_running(self.file), last_words, at)

    def forgive(self) -> None:
        """No call of the plugin is suspected any more."""
        self._blame.forgive()


def reason_of(ending: Ending, log: OutputLog) -> str:
    """How a process ended, with its last words, for people."""
    said = log.last_words
    return f"{ending.text}; last words: {said}" if said else ending.text
