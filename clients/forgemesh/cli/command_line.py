"""What the command line says beside the command itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter

from forgemesh.cli.terminal import Terminal


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """The global options; `address` is None where the client shall find it, `named_namespace` where none is typed."""

    terminal: Terminal
    address: str | None = None
    namespace: str = "default"
    named_namespace: str | None = None


Given = Annotated[CommandLine, Parameter(parse=False)]
"""The parameter of a command that gets the global options."""


def switch(*names: str, **more: Any) -> Parameter:
    """An option that is on when it is said, and has no opposite."""
    return Parameter(name=names or None, negative=(), show_default=False, **more)
