"""Giving a plugin another configuration, on all its hosts or on none."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from forgemesh.faults import Violation
from forgemesh.faults.supervisor import ConfigInvalid, ConfigRejected, ReloadFailed
from forgemesh.language.allowance import Allowance, SchemaTooCostly, SchemaUnusable
from forgemesh.language.json_value import misfit, read_document
from forgemesh.language.nesting import MAX_CHECKED
from forgemesh.plugin_host.supervisor.changes.changes import Changes
from forgemesh.plugin_host.supervisor.changes.inquiry import Inquiry
from forgemesh.plugin_host.supervisor.changes.reloader import Reloader
from forgemesh.plugin_host.supervisor.fleet.fleet import Fleet
from forgemesh.plugin_host.supervisor.fleet.group import Group
from forgemesh.plugin_host.supervisor.fleet.lifecycle_publisher import publish
from forgemesh.plugin_host.supervisor.hosts.lifecycle_event import Kind
from forgemesh.plugin_host.supervisor.state.change import Change, Configuration, Stage
from forgemesh.plugin_host.supervisor.state.journal import Journal

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

CHECKED = 2_000_000
"""Work that a configuration is checked with; a slow machine does it in some seconds, beside everything else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """The configuration that counts now, and whether processes were replaced for it."""

    revision: int
    reloaded: bool


class Reconfigurer:
    """Configures plugins of a fleet, each one at a time."""

    def __init__(self, fleet: Fleet, changes: Changes, journal: Journal, reloader: Reloader) -> None:
        self._fleet = fleet
        self._changes = changes
        self._journal = journal
        self._reloader = reloader

    async def configure(self, name: str, config: str, *, dry_run: bool, force: bool) -> Configured:
        """
        Raises PluginNotConfigured, ConfigInvalid, ConfigRejected, and ReloadFailed if it took new processes.

        Goes on if it is cancelled. With `force`, processes are replaced also without a state that cannot be saved.
        """
        group = self._fleet.group(name)
        if dry_run:
            await _check(group, config)
            return Configured(revision=group.revision, reloaded=False)
        return await self._changes.of(group, partial(self._configure, group, config, force=force))

    async def settle(self, group: Group) -> None:
        """Tell the hosts that an earlier supervisor has left which configuration counts; whoever does not say so."""

        async def tell_all() -> None:
            inquiry = Inquiry(self._fleet, group, group.configuration)
            for runner in await inquiry.running():
                if not group.revision or runner.host.config_revision != group.revision:
                    await inquiry.insist(runner)

        await self._changes.of(group, tell_all)

    async def _configure(self, group: Group, config: str, *, force: bool) -> Configured:
        await _check(group, config)
        before = group.known
        wanted = Configuration(text=config, revision=group.revision + 1, section=group.plan.config)
        self._journal.note(
            Change(name=group.name, stage=Stage.TRYING, before=before.configuration, after=wanted, old=None)
        )
        inquiry = Inquiry(self._fleet, group, wanted)
        try:
            reload = await inquiry.told()
            group.config, group.revision = wanted.text, wanted.revision
            if reload:
                await self._reloader.replace(group, before, force=force)
        except (ConfigRejected, ReloadFailed) as refused:
            await inquiry.undo()
            if isinstance(refused, ConfigRejected):
                publish(self._fleet, group, Kind.CONFIG_REJECTED, refused.message)
            self._journal.settle(group.name, group.configuration)
            raise
        self._journal.settle(group.name, group.configuration)
        text = f"{group.name}: configuration {wanted.revision}"
        publish(self._fleet, group, Kind.CONFIGURED, text, {"to": str(wanted.revision)})
        return Configured(revision=wanted.revision, reloaded=reload)


async def _check(group: Group, config: str) -> None:
    schema = group.manifest.config_schema if group.manifest else ""
    await asyncio.to_thread(check, group.name, config, schema)


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
    from forgemesh.language import json_schema  # noqa: PLC0415 - loads slowly, and no start of the service needs it

    return json_schema.errors_of(json_schema.validator_of(json.loads(schema)), value, Allowance(CHECKED))


def _place(path: Any) -> str:
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
