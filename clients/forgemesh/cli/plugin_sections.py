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
    """
    One plugin: `load` is "module:Class", `folders` come first where it is looked for; `name` may be empty.

    A program in any language has a `manifest` file instead. `python` is another interpreter than the one that runs.
    """

    name: str
    load: str
    folders: tuple[Path, ...] = ()
    python: str = ""
    manifest: Path | None = None

    def __str__(self) -> str:
        what = self.load or (self.manifest.name if self.manifest else "")
        return f"[plugins.{self.name}] {what}" if self.name else what


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
    """
    Every plugin that can be looked at without being started; whoever starts them refuses what else is wrong.

    A program without a manifest file tells what it offers only when it runs.
    """
    plugins = tables.get("plugins")
    found = plugins.items() if isinstance(plugins, dict) else ()
    sections = (_section(file.resolve().parent, name, table) for name, table in found if isinstance(table, dict))
    return [section for section in sections if section is not None]


def _section(root: Path, name: str, table: dict[str, Any]) -> PluginSection | None:
    load, manifest, python = (table.get(key) for key in ("load", "manifest", "python"))
    if isinstance(load, str):
        environment = _interpreter(root / python) if isinstance(python, str) else ""
        return PluginSection(name, load, _folders(root, table.get("path", ".")), environment)
    if isinstance(manifest, str):
        return PluginSection(name, "", manifest=root / manifest)
    return None


def _interpreter(path: Path) -> str:
    """The Python of a virtual environment, or the interpreter itself."""
    inside = path / "bin" / "python"
    return str(inside if inside.exists() else path)


def _folders(root: Path, path: object) -> tuple[Path, ...]:
    listed = [path] if isinstance(path, str) else path if isinstance(path, list) else []
    return tuple((root / str(folder)).resolve() for folder in listed)
