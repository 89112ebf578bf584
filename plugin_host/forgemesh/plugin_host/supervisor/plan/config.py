"""The [plugins.*] tables of forgemesh.toml, read once, all mistakes reported together."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Any

from forgemesh.chassis.process import EXIT_SETTINGS, CannotStart
from forgemesh.plugin_host.supervisor.plan.plan import PluginPlan
from forgemesh.plugin_host.supervisor.plan.restart import RestartRule
from forgemesh.plugin_host.supervisor.plan.section import manifest_of, plan_of, section_of

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")
_LONGEST_NAME = 60


class ConfigurationInvalid(CannotStart):
    """The file cannot be used; `mistakes` names everything that is wrong with it."""

    exit_code = EXIT_SETTINGS

    def __init__(self, file: Path, mistakes: list[str]) -> None:
        super().__init__(f"{file} is not valid:\n  " + "\n  ".join(mistakes))
        self.mistakes = mistakes


def read_configuration(file: Path, rule: RestartRule | None = None) -> list[PluginPlan]:
    """
    Every plugin that the file asks for, in its order; raises ConfigurationInvalid.

    `rule` holds the crash budget of those that have none of their own.
    """
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationInvalid(file, [f"it cannot be read: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationInvalid(file, [str(error)]) from error
    mistakes: list[str] = []
    root = file.resolve().parent
    plans = []
    for name, table in _tables(document, mistakes).items():
        plan, wrong = _plan(name, table, root, rule or RestartRule())
        mistakes += [f"[plugins.{name}] {mistake}" for mistake in wrong]
        plans += [plan] if plan else []
    if mistakes:
        raise ConfigurationInvalid(file, mistakes)
    return plans


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


def _plan(name: str, table: object, root: Path, rule: RestartRule) -> tuple[PluginPlan | None, list[str]]:
    mistakes = []
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        mistakes.append("the name is not made of lower-case letters, digits and . _ - between them")
    if not isinstance(table, dict):
        return None, [*mistakes, "is not a table"]
    section, wrong = section_of(table)
    mistakes += wrong
    if section is None:
        return None, mistakes
    manifest, wrong = manifest_of(section, root)
    mistakes += wrong
    return (None if mistakes else plan_of(name, section, root, rule, manifest)), mistakes
