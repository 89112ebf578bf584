"""`forgemesh plugin check`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forgemesh.api.plugin.v1.manifest_pb2 import Manifest
from forgemesh.cli.command_line import CommandLine, Given
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.manifest_difference import Difference, deserved_version, differences
from forgemesh.cli.manifest_page import manifest_page
from forgemesh.cli.plugin_inspection import Inspection, inspect_plugin
from forgemesh.cli.plugin_sections import CONFIG, PluginSection, read_tables, sections_of
from forgemesh.cli.problem import Problem, usage
from forgemesh.cli.service_address import said_here, service_address
from forgemesh.cli.service_discovery import published
from forgemesh.cli.terminal import as_value
from forgemesh.client import Client
from forgemesh.faults import Fault

_AT_A_TIME = 4


async def check(
    plugin: str | None = None,
    /,
    *,
    path: tuple[Path, ...] = (),
    config: Path = Path(CONFIG),
    line: Given,
) -> None:
    """
    Import plugins, each in a process of its own, and show what they offer, or all that is wrong with them.

    If a mesh runs, each is compared with what is published there. Exits with 2 if a plugin is not valid, and with 4 if
    its version is published with another content.

    Parameters
    ----------
    plugin
        "module:Class", or the name of a section of the configuration; every section if not given.
    path
        Where to look for the module first; the working directory if not given. May be repeated.
    config
        The project's forgemesh.toml.
    """
    found = await inspect_all(chosen(plugin, path, config))
    compared = await _compared(found, line)
    if line.terminal.json:
        line.terminal.value({"plugins": [_row(one, compared) for one in found]})
    else:
        _show(found, compared, line)
    _end(found, compared)


async def inspect_all(sections: Sequence[PluginSection]) -> list[Inspection]:
    """Each plugin as its import shows it, a few at a time."""
    slots = asyncio.Semaphore(_AT_A_TIME)

    async def inspected(section: PluginSection) -> Inspection:
        async with slots:
            return await inspect_plugin(section)

    return await asyncio.gather(*map(inspected, sections))


def all_chosen(plugins: Sequence[str], path: Sequence[Path], config: Path) -> list[PluginSection]:
    """The plugins that are meant by several names, each once; all of the configuration if there are none."""
    if not plugins:
        return chosen(None, path, config)
    return list({str(one): one for plugin in plugins for one in chosen(plugin, path, config)}.values())


def chosen(plugin: str | None, path: Sequence[Path], config: Path) -> list[PluginSection]:
    """The plugins that are meant; raises Problem if there is none."""
    if plugin is not None and ":" in plugin:
        module, _, name = plugin.partition(":")
        if not module or not name:
            raise usage(f'{plugin!r} is not "module:Class"', hint='write it like "stock:Stock"')
        return [PluginSection("", plugin, tuple(folder.resolve() for folder in path or (Path(),)))]
    sections = sections_of(config, read_tables(config))
    if plugin is not None:
        named = [section for section in sections if section.name == plugin]
        if not named:
            known = ", ".join(section.name for section in sections) or "none"
            raise usage(
                f"{config} has no section [plugins.{plugin}] with `load` or `manifest`",
                hint=f'its sections: {known}; a plugin without one is named "module:Class"',
                reason="SECTION_NOT_FOUND",
            )
        return named
    if not sections:
        raise usage(
            f"{config} names no plugin that can be looked at without starting it",
            hint="add one: forgemesh plugin new NAME       or name one as module:Class",
            reason="CONFIG_INVALID",
        )
    return sections


async def _compared(found: Sequence[Inspection], line: CommandLine) -> dict[str, list[Difference] | None] | None:
    """By plugin id what differs from the same version in the catalogue; None if it is not there, or no mesh runs."""
    manifests = [one.manifest for one in found if one.manifest is not None]
    if not manifests:
        return None
    try:
        async with Client.connect(line.address) as mesh:
            registry = await service_address(mesh, "registry")
        known = await published(registry)
    except (Fault, Problem):
        if line.address is not None or "FORGEMESH_ADDRESS" in os.environ or said_here(os.environ):
            raise
        return None
    by_version = {(one.plugin_id, one.version): one for one in known}
    return {one.plugin_id: _changed(by_version.get((one.plugin_id, one.version)), one) for one in manifests}


def _changed(before: Manifest | None, after: Manifest) -> list[Difference] | None:
    return None if before is None else differences(before, after)


def _row(one: Inspection, compared: dict[str, list[Difference] | None] | None) -> dict[str, Any]:
    manifest = one.manifest
    if manifest is None:
        return {"section": one.section.name, "load": one.section.load, "valid": False, "mistakes": list(one.mistakes)}
    changed = (compared or {}).get(manifest.plugin_id)
    if compared is None:
        state = "UNKNOWN"
    elif changed is None:
        state = "NEW"
    else:
        state = "CHANGED" if changed else "SAME"
    return {
        "section": one.section.name,
        "load": one.section.load,
        "valid": True,
        "mistakes": [],
        "manifest": as_value(manifest),
        "published": state,
        "differences": [difference.what for difference in changed or ()],
        "deserved_version": deserved_version(manifest.version, changed or ()) if changed else manifest.version,
    }


def _show(found: Sequence[Inspection], compared: dict[str, list[Difference] | None] | None, line: CommandLine) -> None:
    pages = [manifest_page(one.manifest) for one in found if one.manifest is not None]
    for number, page in enumerate(pages):
        line.terminal.data(*([""] if number else []), *page)
    if compared is None and pages:
        line.terminal.talk("", "no mesh runs here, so nothing was compared with what is published")
    for plugin_id, changed in (compared or {}).items():
        if not changed:
            word = "is published as it is" if changed is not None else "is not published yet in this version"
            line.terminal.talk("", f"{plugin_id} {word}")


def refuse_invalid(found: Sequence[Inspection]) -> None:
    """Raise Problem for plugins that cannot be served, with all mistakes."""
    broken = [one for one in found if one.manifest is None]
    if not broken:
        return
    subject = str(broken[0].section) if len(found) == 1 else f"{len(broken)} of {len(found)} plugins"
    raise Problem(
        ExitCode.USAGE,
        f"{subject} cannot be served",
        reason="PLUGIN_INVALID",
        code="INVALID_ARGUMENT",
        details=[text for one in broken for text in _wrong(one, titled=len(found) > 1)],
    )


def refuse_changed(manifest: Manifest, known: Sequence[Manifest]) -> None:
    """Raise Problem if its version is published with another content."""
    before = {(one.plugin_id, one.version): one for one in known}.get((manifest.plugin_id, manifest.version))
    changed = differences(before, manifest) if before is not None else None
    if changed:
        raise _conflict(manifest, changed)


def _end(found: Sequence[Inspection], compared: dict[str, list[Difference] | None] | None) -> None:
    """Raise Problem for everything that is wrong."""
    refuse_invalid(found)
    refuse_twice([one.manifest for one in found if one.manifest is not None])
    for one in found:
        changed = (compared or {}).get(one.manifest.plugin_id) if one.manifest else None
        if one.manifest is not None and changed:
            raise _conflict(one.manifest, changed)


def _wrong(one: Inspection, *, titled: bool) -> list[str]:
    lines = [*one.mistakes, *(f"| {text}" for text in one.written)]
    return [f"{one.section}:", *(f"  {text}" for text in lines)] if titled else lines


def refuse_twice(manifests: Sequence[Manifest]) -> None:
    """Raise Problem for different contents under one version."""
    seen: dict[tuple[str, str], Manifest] = {}
    twice = [
        f"{one.plugin_id} {one.version}"
        for one in manifests
        if seen.setdefault((one.plugin_id, one.version), one) != one
    ]
    if twice:
        raise usage(
            f"several sections serve different content as {', '.join(twice)}",
            hint="give each its own plugin id, or another version",
            reason="PLUGIN_INVALID",
        )


def _conflict(manifest: Manifest, changed: Sequence[Difference]) -> Problem:
    deserved = deserved_version(manifest.version, changed)
    return Problem(
        ExitCode.REFUSED,
        f"{manifest.plugin_id} {manifest.version} is published with another content",
        reason="MANIFEST_CONFLICT",
        code="ALREADY_EXISTS",
        details=[str(one) for one in changed],
        hint=f'raise its version: version="{deserved}"',
    )
