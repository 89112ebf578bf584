"""Where a thread stands, for people."""

from __future__ import annotations

from pathlib import Path
from types import FrameType


def where(frame: FrameType | None) -> str:
    """The innermost place in Python code, e.g. "stats.py:12 in temperature"."""
    if frame is None:
        return ""
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} in {frame.f_code.co_name}"
