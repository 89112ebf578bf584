"""What one instance of a plugin may use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from forgemesh.language.json_value import shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Upper bounds of one process: memory in bytes, share of a core ("0.5" is half of one), open files; 0 is none."""

    memory_bytes: int = 0
    cpu: float = 0.0
    open_files: int = 0


_LEAST_MEMORY = 64 * 1024 * 1024
_LEAST_FILES = 64


def checked_limits(said: object, note: Callable[[str], None]) -> Limits:
    """The limits; everything wrong with them is told to `note`."""
    if said is None:
        return Limits()
    if not isinstance(said, Limits):
        note(f"limits {said!r} is no Limits(memory_bytes=..., cpu=..., open_files=...)")
        return Limits()
    _check(said.memory_bytes, "memory_bytes", _LEAST_MEMORY, 2**62, "bytes, or 0 for no limit", note)
    _check(said.open_files, "open_files", _LEAST_FILES, 2**20, "files, or 0 for no limit", note)
    cpu: object = said.cpu
    if isinstance(cpu, bool) or not isinstance(cpu, (int, float)) or not 0 <= cpu <= 1024:
        note(f"limits: cpu {cpu!r} is no share of cores such as 0.5")
    elif 0 < said.cpu < 0.01:
        note(f"limits: cpu {said.cpu!r} is below 0.01 of a core")
    return said


def _check(value: object, name: str, least: int, most: int, unit: str, note: Callable[[str], None]) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        note(f"limits: {name} {shown(value)} is no whole number")
    elif value and not least <= value <= most:
        note(f"limits: {name} {value} is not between {least} and {most} {unit}")
