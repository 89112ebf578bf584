"""The [plugins.*] tables of forgemesh.toml, read once, all mistakes reported together."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from forgemesh.chassis.process import EXIT_SETTINGS, CannotStart

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")
_LONGEST_NAME = 60


class ConfigurationInvalid(CannotStart):
    """The file cannot be used; `mistakes` names everything that is wrong with it."""

    exit_code = EXIT_SETTINGS

    def __init__(self, file: Path, mistakes: list[str]) -> None:
        super().__init__(f"{file} is not valid:\n  " + "\n  ".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPlan:
    """One instance that is to run."""

    instance_id: str
    name: str
    load: str
    directories: tuple[str, ...]
    environment: Mapping[str, str]
    inherit: tuple[str, ...]


class _Section(msgspec.Struct, frozen=True, kw_only=True):
    load: Annotated[str, msgspec.Meta(pattern=r"^[\w.]+:\w+$")]
    path: str | list[str] = "."
    instances: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 1
    environment: dict[str, str] = {}
    inherit: list[str] = []


def read_configuration(file: Path) -> list[HostPlan]:
    """Every host that the file asks for, in its order; raises ConfigurationInvalid."""
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationInvalid(file, [f"it cannot be read: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationInvalid(file, [str(error)]) from error
    mistakes: list[str] = []
    sections = {name: _section(name, table, mistakes) for name, table in _tables(document, mistakes).items()}
    if mistakes:
        raise ConfigurationInvalid(file, mistakes)
    return [
        plan for name, section in sections.items() if section for plan in _plans(name, section, file.resolve().parent)
    ]


def _tables(document: dict[str, Any], mistakes: list[str]) -> dict[str, Any]:
    tables = document.get("plugins")
    if tables is None:
        close = difflib.get_close_matches("plugins", document, n=1)
        hint = f"; did you mean [{close[0]}] to be [plugins]?" if close else ""
        mistakes.append(f'it has no table [plugins.<name>] with load = "module:Class"{hint}')
        return {}
    if not isinstance(tables, dict) or not tables:
        mistakes.append('[plugins] holds no tables; write e.g. [plugins.weather-stats] and load = "module:Class"')
        return {}
    return tables


def _section(name: str, table: object, mistakes: list[str]) -> _Section | None:
    place = f"[plugins.{name}]"
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        mistakes.append(f"{place} the name is not made of lower-case letters, digits and . _ - between them")
    if not isinstance(table, dict):
        mistakes.append(f"{place} is not a table")
        return None
    before = len(mistakes)
    mistakes.extend(f"{place} {unknown}" for unknown in _unknown(table))
    section: _Section | None = None
    for field in _Section.__struct_fields__:
        _check(place, field, table, mistakes)
    if len(mistakes) == before:
        section = msgspec.convert(table, _Section)
        mistakes.extend(f"{place} {mistake}" for mistake in _twice(section))
    return section


def _unknown(table: Mapping[str, object]) -> list[str]:
    known = list(_Section.__struct_fields__)
    found = []
    for key in table:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
            found.append(f"unknown key {key!r}; {hint}")
    return found


def _check(place: str, field: str, table: Mapping[str, object], mistakes: list[str]) -> None:
    """Each key by itself, so that one mistake does not hide the others."""
    if field not in table:
        if field == "load":
            mistakes.append(f'{place} load is missing; write load = "module:Class"')
        return
    try:
        msgspec.convert({"load": "module:Class", field: table[field]}, _Section)
    except msgspec.ValidationError as error:
        said = str(error)
        mistakes.append(
            f'{place} load = {table[field]!r} is not "module:Class"' if "regex" in said else f"{place} {said}"
        )


def _twice(section: _Section) -> list[str]:
    directories = [section.path] if isinstance(section.path, str) else section.path
    found = [f"inherit lists {name!r} twice" for name in _repeated(section.inherit)]
    found += [f"path lists {directory!r} twice" for directory in _repeated(directories)]
    if any(not text for text in (*directories, *section.inherit, *section.environment)):
        found.append("path, inherit and environment must not hold an empty name")
    return found


def _repeated(texts: list[str]) -> list[str]:
    return sorted({text for text in texts if texts.count(text) > 1})


def _plans(name: str, section: _Section, root: Path) -> list[HostPlan]:
    directories = [section.path] if isinstance(section.path, str) else section.path
    return [
        HostPlan(
            instance_id=f"{name}-{number}",
            name=name,
            load=section.load,
            directories=tuple(str(root / directory) for directory in directories),
            environment=section.environment,
            inherit=tuple(section.inherit),
        )
        for number in range(1, section.instances + 1)
    ]
