"""Settings of a process: a frozen dataclass read once from TOML and the environment, all mistakes reported together."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")

PREFIX = "FORGEMESH"


class SettingsError(Exception):
    """The settings are wrong; `problems` names every mistake with its place."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("the settings are not valid:\n  " + "\n  ".join(problems))
        self.problems = problems


def load_settings(cls: type[T], *, section: str, environment: Mapping[str, str], file: Path | None = None) -> T:
    """
    Read table `section` of the TOML `file`, then FORGEMESH_<SECTION>_<FIELD> over it.

    Raises SettingsError for an unreadable file, unknown names and values of the wrong type or range.
    """
    problems: list[str] = []
    found = _from_file(file, section, problems) | _from_environment(environment, section)
    hints = typing.get_type_hints(cls)
    fields = dataclasses.fields(typing.cast(typing.Any, cls))
    names = [field.name for field in fields]
    values: dict[str, object] = {}
    for name, (place, raw) in found.items():
        if name not in names:
            problems.append(f"{place}: unknown setting{_suggestion(name, names)}")
            continue
        try:
            values[name] = msgspec.convert(raw, hints[name], strict=False, dec_hook=_path)
        except msgspec.ValidationError as error:
            problems.append(f"{place}: {error}")
    required = (field for field in fields if field.default is field.default_factory is dataclasses.MISSING)
    problems += [f"[{section}] {field.name}: must be set" for field in required if field.name not in found]
    if problems:
        raise SettingsError(problems)
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise SettingsError([f"[{section}] {error}"]) from error


def _from_file(file: Path | None, section: str, problems: list[str]) -> dict[str, tuple[str, object]]:
    if file is None:
        return {}
    import tomllib  # noqa: PLC0415 - most hosts have no file

    try:
        table = tomllib.loads(file.read_text(encoding="utf-8")).get(section, {})
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{file}: {error}")
        return {}
    if not isinstance(table, dict):
        problems.append(f"{file}: [{section}] is not a table")
        return {}
    return {name: (f"{file} [{section}] {name}", value) for name, value in table.items()}


def _from_environment(environment: Mapping[str, str], section: str) -> dict[str, tuple[str, object]]:
    start = f"{PREFIX}_{section.upper().replace('-', '_')}_"
    return {
        key.removeprefix(start).lower(): (key, value) for key, value in environment.items() if key.startswith(start)
    }


def _path(wanted: type, raw: object) -> object:
    """Paths, the one type of a setting that msgspec does not know."""
    if issubclass(wanted, Path) and isinstance(raw, str):
        return wanted(raw)
    raise ValueError(f"Expected `{wanted.__name__}`, got {raw!r}")


def _suggestion(name: str, names: list[str]) -> str:
    import difflib  # noqa: PLC0415 - for mistakes alone

    close = difflib.get_close_matches(name, names, n=1)
    return f", did you mean {close[0]!r}?" if close else f"; known: {', '.join(names)}"
