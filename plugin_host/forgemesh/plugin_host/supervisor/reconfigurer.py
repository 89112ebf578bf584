"""Giving a plugin another configuration, on all its hosts or on none."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from jsonschema.exceptions import ValidationError

from forgemesh.faults import Violation
from forgemesh.faults.supervisor import ConfigInvalid, ConfigRejected, ReloadFailed
from forgemesh.language.json_schema import Allowance, SchemaTooCostly, SchemaUnusable, errors_of, validator_of
from forgemesh.language.json_value import misfit, read_document
from forgemesh.language.nesting import MAX_CHECKED
from forgemesh.plugin_host.supervisor.domain.happening import Kind
from forgemesh.plugin_host.supervisor.fleet import Fleet
from forgemesh.plugin_host.supervisor.group import Group
from forgemesh.plugin_host.supervisor.keeper import Keeper
from forgemesh.plugin_host.supervisor.news import tell
from forgemesh.plugin_host.supervisor.reloader import Reloader

CHECKED = 2_000_000
"""Work that a configuration is checked with; a slow machine does it in some seconds, beside everything else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """The configuration that counts now, and whether processes were replaced for it."""

    revision: int
    reloaded: bool


class Reconfigurer:
    """Configures plugins of a fleet, each one at a time."""

    def __init__(self, fleet: Fleet, reloader: Reloader) -> None:
        self._fleet = fleet
        self._reloader = reloader

    async def configure(self, name: str, config: str, *, dry_run: bool) -> Configured:
        """Raises PluginNotConfigured, ConfigInvalid, ConfigRejected, and ReloadFailed if it took new processes."""
        group = self._fleet.group(name)
        async with group.changing:
            await asyncio.to_thread(check, name, config, group.manifest.config_schema if group.manifest else "")
            if dry_run:
                return Configured(revision=group.revision, reloaded=False)
            return await self._apply(group, config)

    async def _apply(self, group: Group, config: str) -> Configured:
        before, revision = group.config, group.revision + 1
        reloaded = False
        try:
            if await self._told(group, config, revision):
                group.config, group.revision = config, revision
                reloaded = True
                await self._reloader.replace(group)
        except ReloadFailed:
            group.config = before
            raise
        except ConfigRejected as rejected:
            tell(self._fleet, group, Kind.CONFIG_REJECTED, rejected.message)
            raise
        group.config, group.revision = config, revision
        tell(self._fleet, group, Kind.CONFIGURED, f"{group.name}: configuration {revision}", {"to": str(revision)})
        return Configured(revision=revision, reloaded=reloaded)

    async def _told(self, group: Group, config: str, revision: int) -> bool:
        """Tell all hosts that serve; whether one of them takes it on only at its start."""
        done: list[Keeper] = []
        for keeper in group.serving:
            if keeper.life is None:
                continue
            result = await keeper.life.configure(config, revision)
            if result.refusal:
                await self._undo(group, done)
                raise ConfigRejected(group.name, keeper.instance_id, result.refusal)
            done.append(keeper)
            if result.needs_restart:
                return True
            keeper.configured(revision)
        return False

    async def _undo(self, group: Group, done: list[Keeper]) -> None:
        for keeper in done:
            if keeper.life is not None:
                await keeper.life.configure(group.config, group.revision)
                keeper.configured(group.revision)


def check(name: str, config: str, schema: str) -> None:
    """Raise ConfigInvalid with everything that does not fit the plugin's schema (JSON Schema as text, or empty)."""
    try:
        value = read_document(config.encode(), MAX_CHECKED)
    except ValueError as error:
        raise ConfigInvalid(name, [Violation("config", f"is not JSON: {error}")]) from error
    if not schema:
        raise ConfigInvalid(name, [Violation("config", "the plugin takes no configuration")])
    try:
        errors = sorted(_errors(schema, value), key=lambda error: list(map(str, error.absolute_path)))
    except SchemaUnusable as error:
        raise ConfigInvalid(name, [Violation("config", f"the plugin's schema is of no use: {error}")]) from error
    except SchemaTooCostly as error:
        cause = "the plugin's schema takes too much work to check this; a simpler schema or a smaller value does not"
        raise ConfigInvalid(name, [Violation("config", cause)]) from error
    violations = [Violation(_place(error.absolute_path), misfit(error)) for error in errors]
    if violations:
        raise ConfigInvalid(name, violations)


def _errors(schema: str, value: Any) -> list[ValidationError]:
    return errors_of(validator_of(json.loads(schema)), value, Allowance(CHECKED))


def _place(path: Any) -> str:
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
