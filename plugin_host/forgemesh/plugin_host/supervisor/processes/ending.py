"""How a process ended, for people and for the decision whether it starts again."""

from __future__ import annotations

from dataclasses import dataclass

OUT_OF_MEMORY = 77
"""The exit code by which a host says that it could get no more memory."""
_NEAR = 0.75
"""Share of its memory limit above which a process that fails has died of it: the limit counts reserved memory, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """
    What is known about the end of a process.

    `exit_code` is None if a signal ended it, or if nobody could tell. `memory_peak` and `memory_limit` are bytes, zero
    if not known or not limited. `killed_for_memory` is what the kernel says about it, where it says something.
    """

    exit_code: int | None = None
    signal: int = 0
    memory_peak: int = 0
    memory_limit: int = 0
    killed_for_memory: bool = False

    @property
    def out_of_memory(self) -> bool:
        """Whether it died for want of memory, as far as anybody can tell."""
        if self.exit_code == OUT_OF_MEMORY or self.killed_for_memory:
            return True
        return bool(self.failed and self.memory_limit and self.memory_peak >= _NEAR * self.memory_limit)

    @property
    def failed(self) -> bool:
        """Whether it ended otherwise than with exit code 0."""
        return bool(self.signal or self.exit_code)

    @property
    def text(self) -> str:
        """For people."""
        if self.signal:
            how = f"killed by signal {self.signal}"
        elif self.exit_code is None:
            how = "it ended, nobody knows how"
        else:
            how = f"exit code {self.exit_code}"
        if not self.failed and not self.killed_for_memory:
            return how
        return f"OOM, {how}{self._memory()}" if self.out_of_memory else f"{how}{self._memory(limited=True)}"

    def _memory(self, *, limited: bool = False) -> str:
        """What it used; with `limited` only if there is a limit to compare that with."""
        if not self.memory_peak or (limited and not self.memory_limit):
            return ""
        limit = f" of {size_text(self.memory_limit)}" if self.memory_limit else ""
        return f", used up to {size_text(self.memory_peak)}{limit}"


def ending_of(status: int, *, memory_peak: int = 0, memory_limit: int = 0) -> Ending:
    """From a return code as `subprocess` has it: negative for a signal."""
    if status < 0:
        return Ending(signal=-status, memory_peak=memory_peak, memory_limit=memory_limit)
    return Ending(exit_code=status, memory_peak=memory_peak, memory_limit=memory_limit)


def size_text(size: int) -> str:
    """Bytes for people."""
    return f"{size / (1 << 20):.0f} MiB"
