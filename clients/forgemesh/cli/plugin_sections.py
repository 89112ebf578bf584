"""The plugins that a forgemesh.toml names, as far as its author's tools look at them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgemesh.cli.exits import ExitCode
from forgemesh.cli.problem import Problem, usage

CONFIG = "forgemesh.toml"


@dataclass(frozen=True, slots=True)
class PluginSection:
    """One plugin: `load` is "module:Class", `folders` come first where it is looked for; `name` may be empty."""

    name: str
    load: str
    folders: tuple[Path, ...] = ()

    def __str__(self) -> str:
        return f"[plugins.{self.name}] {self.load}" if self.name else self.load


def read_tables(file: Path) -> dict[str, Any]:
    """The content of a configuration; raises Problem if there is none that can be read."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise no_config(file) from error
    except OSError as error:
        raise usage(f"cannot read {file}: {error.strerror}", reason="CONFIG_INVALID") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise usage(f"{file} is not valid TOML: {error}", reason="CONFIG_INVALID") from error


def no_config(file: Path) -> Problem:
    """There is no such file."""
    return Problem(
        ExitCode.NOT_FOUND,
        f"there is no {file}",
        reason="CONFIG_NOT_FOUND",
        code="NOT_FOUND",
        hint="make a project: forgemesh init       or name its configuration with --config",
    )


def sections_of(file: Path, tables: dict[str, Any]) -> list[PluginSection]:
    """Every plugin in Python that it names; whoever starts them refuses what else is wrong with it."""
    plugins = tables.get("plugins")
    if not isinstance(plugins, dict):
        return []
    return [
        PluginSection(name, table["load"], _folders(file, table.get("path", ".")))
        for name, table in plugins.items()
        if isinstance(table, dict) and isinstance(table.get("load"), str)
    ]


def _folders(file: Path, path: object) -> tuple[Path, ...]:
    listed = [path] if isinstance(path, str) else path if isinstance(path, list) else []
    return tuple((file.resolve().parent / str(folder)).resolve() for folder in listed)
