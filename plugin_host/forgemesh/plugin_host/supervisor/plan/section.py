"""One table [plugins.NAME] of forgemesh.toml: its keys, and everything that is wrong with them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.language.json_value import NotJson, shown, write_json
from forgemesh.notation.duration import seconds_of
from forgemesh.plugin import PluginDefinitionError, manifest_from_toml
from forgemesh.plugin.size import bytes_of
from forgemesh.plugin_host.supervisor.plan.plan import CHANGE_TIMEOUT, START_TIMEOUT, Limits, PluginPlan
from forgemesh.plugin_host.supervisor.plan.restart import RestartPolicy, RestartRule
from forgemesh.routing.scaling import ScaleRule

MOST_INSTANCES = 1000
MOST_CRASHES = 100_000
MOST_CORES = 10_000
MOST_OPEN_FILES = 2**30
MOST_MEMORY = 2**50
LONGEST_WINDOW = 3600.0
"""Seconds over which the load rule remembers what would have been right, once a second."""
LONGEST_DURATION = 366 * 86400.0
LONGEST_WORD = 128 * 1024 - 1
"""Bytes of one argument, or of one variable with its name, that Linux passes to a program."""

_Count = Annotated[int, msgspec.Meta(ge=0, le=MOST_INSTANCES)]
_Duration = str | int | float
_Load = Annotated[str, msgspec.Meta(pattern=r"^(entry:[\w.-]+|[\w.]+:\w+)$")]


class _Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    memory: str | int | None = None
    cpu: Annotated[float, msgspec.Meta(gt=0, le=MOST_CORES)] | None = None
    open_files: Annotated[int, msgspec.Meta(ge=16, le=MOST_OPEN_FILES)] | None = None


class _Budget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    crashes: Annotated[int, msgspec.Meta(ge=1, le=MOST_CRASHES)] | None = None
    within: _Duration | None = None


class _Scale(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    target: Annotated[float, msgspec.Meta(gt=0, le=10)] = 0.7
    tolerance: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.1
    up_after: _Duration = 0
    down_after: _Duration = "5m"


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """The keys, as they are written."""

    load: _Load | None = None
    path: str | list[str] = "."
    instances: _Count = 1
    environment: dict[str, str] = {}
    inherit: list[str] = []
    command: list[str] | None = None
    manifest: str | None = None
    python: str | None = None
    config: dict[str, Any] = {}
    limits: _Limits = _Limits()
    min_instances: _Count | None = None
    max_instances: _Count | None = None
    scale: _Scale | None = None
    start_timeout: _Duration = START_TIMEOUT
    change_timeout: _Duration = CHANGE_TIMEOUT
    grace: _Duration | None = None
    restart: Literal["always", "on-failure", "never"] = "always"
    crash_budget: _Budget = _Budget()
    lazy: bool = False
    idle_stop: _Duration | None = None
    exclusive: bool = False
    reattach: bool = False
    leave_detached: bool = False
    owner_key_file: str | None = None


def section_of(table: Mapping[str, object]) -> tuple[Section | None, list[str]]:
    """The section, or everything that is wrong with it."""
    mistakes = _unknown(table)
    for field in Section.__struct_fields__:
        if field in table:
            mistakes += _check(field, table[field])
    if "load" not in table and "command" not in table:
        mistakes.append('load is missing; write load = "module:Class", or command = ["program", "argument"]')
    if mistakes:
        return None, mistakes
    section = msgspec.convert(table, Section)
    mistakes = [
        *_contradictions(section),
        *_twice(section),
        *_unreadable(section),
        *_unsayable(section),
        *_impossible(section),
    ]
    return (None, mistakes) if mistakes else (section, [])


def _unsayable(section: Section) -> Iterator[str]:
    """TOML knows numbers that JSON does not."""
    try:
        write_json(section.config)
    except NotJson as error:
        yield f"{error.path('config')}: {error.cause}"


def _impossible(section: Section) -> Iterator[str]:
    """What no process can be started with."""
    words = {f"environment.{name}": f"{name}={value}" for name, value in section.environment.items()}
    words |= {f"command[{number}]": word for number, word in enumerate(section.command or ())}
    words |= {f"path {directory!r}": directory for directory in _directories(section)}
    words |= {key: word for key in ("manifest", "python") if (word := getattr(section, key)) is not None}
    for key, word in words.items():
        if "\0" in word:
            yield f"{shown(key)} holds the character NUL, which no program can be given"
        elif len(word.encode()) > LONGEST_WORD:
            yield f"{shown(key)} is longer than {LONGEST_WORD} bytes; write it to a file and name that"
    for name in (*section.environment, *section.inherit):
        if "=" in name or "\0" in name:
            yield f"{shown(name)} is no name of an environment variable: it holds = or NUL"


def _directories(section: Section) -> list[str]:
    return [section.path] if isinstance(section.path, str) else section.path


def manifest_of(section: Section, root: Path) -> tuple[manifest_pb2.Manifest | None, list[str]]:
    """The manifest that the section names a file of, or everything that is wrong with it."""
    if section.manifest is None:
        return None, []
    file = root / section.manifest
    try:
        return manifest_from_toml(file.read_text(encoding="utf-8"), str(file)), []
    except PluginDefinitionError as error:
        return None, [f"manifest {section.manifest}: {mistake}" for mistake in error.mistakes]
    except (OSError, UnicodeDecodeError) as error:
        return None, [f"manifest {section.manifest}: it cannot be read: {error}"]


def plan_of(
    name: str, section: Section, root: Path, rule: RestartRule, manifest: manifest_pb2.Manifest | None
) -> PluginPlan:
    """What follows from a section that is right; `rule` holds the budget of a plugin that has none of its own."""
    least, most = _bounds(section)
    budget, limits = section.crash_budget, section.limits
    return PluginPlan(
        name=name,
        load=section.load or "",
        command=_program(section.command, root) if section.command else (),
        manifest=manifest,
        directories=tuple(str(root / directory) for directory in _directories(section)),
        python=interpreter(root / section.python) if section.python else "",
        instances=max(least, min(section.instances, most)),
        least=least,
        most=most,
        environment=section.environment,
        inherit=tuple(section.inherit),
        config=write_json(section.config).decode() if section.config else "",
        limits=Limits(
            memory=bytes_of(limits.memory) if limits.memory is not None else 0,
            cpu=limits.cpu or 0.0,
            open_files=limits.open_files or 0,
        ),
        start_timeout=seconds_of(section.start_timeout),
        change_timeout=seconds_of(section.change_timeout),
        grace=seconds_of(section.grace) if section.grace is not None else None,
        restart=replace(
            rule,
            policy=RestartPolicy(section.restart),
            crashes=budget.crashes or rule.crashes,
            within=seconds_of(budget.within) if budget.within is not None else rule.within,
        ),
        lazy=section.lazy,
        idle_stop=seconds_of(section.idle_stop) if section.idle_stop is not None else None,
        scale=_scale(section, least, most),
        exclusive=section.exclusive,
        reattach=section.reattach,
        leave_detached=section.leave_detached,
        owner_key_file=str((root / section.owner_key_file).absolute()) if section.owner_key_file else "",
    )


def interpreter(path: Path) -> str:
    """The Python of a virtual environment, or the interpreter itself."""
    inside = path / "bin" / "python"
    return str(inside if inside.exists() else path)


def _program(command: list[str], root: Path) -> tuple[str, ...]:
    """A program with a slash in its name is looked for beside the file, any other on PATH."""
    program = str(root / command[0]) if "/" in command[0] else command[0]
    return (program, *command[1:])


def _bounds(section: Section) -> tuple[int, int]:
    least = section.min_instances or 0
    most = section.max_instances if section.max_instances is not None else MOST_INSTANCES
    return least, min(most, 1) if section.exclusive else most


def _scale(section: Section, least: int, most: int) -> ScaleRule | None:
    """The number follows the load where there is a bound to go up to."""
    if section.max_instances is None:
        return None
    said = section.scale or _Scale()
    return ScaleRule(
        least=max(1, least),
        most=most,
        target=said.target,
        tolerance=said.tolerance,
        up_after=_seconds_or_none(said.up_after),
        down_after=_seconds_or_none(said.down_after),
    )


def _seconds_or_none(duration: _Duration) -> float:
    return 0.0 if duration in (0, 0.0) else seconds_of(duration)


def _unknown(table: Mapping[str, object]) -> list[str]:
    known = list(Section.__struct_fields__)
    found = []
    for key in table:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
            found.append(f"unknown key {key!r}; {hint}")
    return found


def _check(field: str, value: object) -> list[str]:
    """Each key by itself, so that one mistake does not hide the others."""
    try:
        msgspec.convert({field: value}, Section)
    except msgspec.ValidationError as error:
        said = str(error)
        return [f'{field} = {shown(value)} is not "module:Class" or "entry:NAME"' if "regex" in said else said]
    return []


def _contradictions(section: Section) -> Iterator[str]:
    if section.load is not None and section.command is not None:
        yield "load and command exclude one another: a plugin is a class, or a program"
    if section.command is not None and (not section.command or not all(section.command)):
        yield 'command is empty or holds an empty word; write e.g. command = ["./plugin", "--quiet"]'
    for key in ("python", "path"):
        if section.command is not None and getattr(section, key) not in (None, "."):
            yield f"{key} has no meaning beside command"
    yield from _contradicting_numbers(section)
    yield from _contradicting_lives(section)


def _contradicting_lives(section: Section) -> Iterator[str]:
    if section.manifest is not None and section.command is None:
        yield "manifest has no meaning beside load: the manifest of a class is derived from it"
    if section.lazy and section.command is not None:
        yield "lazy needs load: what a program offers is known only when it serves"
    if section.reattach and section.command is not None:
        yield "reattach needs load: a program of its own does not look for another supervisor"
    if section.idle_stop is not None and not section.lazy:
        yield "idle_stop needs lazy = true, or nothing would start the plugin again"


def _contradicting_numbers(section: Section) -> Iterator[str]:
    least, most = section.min_instances or 0, section.max_instances
    if most is not None and least > most:
        yield f"min_instances = {least} is above max_instances = {most}"
    if section.scale is not None and section.max_instances is None:
        yield "scale needs max_instances, the bound to go up to"
    for key in ("instances", "min_instances", "max_instances"):
        if section.exclusive and (getattr(section, key) or 0) > 1:
            yield f"exclusive allows one instance only, and {key} = {getattr(section, key)}"


def _unreadable(section: Section) -> Iterator[str]:
    """Lengths of time and amounts of memory that cannot be read."""
    durations: dict[str, _Duration | None] = {
        "start_timeout": section.start_timeout,
        "change_timeout": section.change_timeout,
        "grace": section.grace,
        "idle_stop": section.idle_stop,
        "crash_budget.within": section.crash_budget.within,
    }
    if section.scale is not None:
        durations |= {"scale.up_after": section.scale.up_after, "scale.down_after": section.scale.down_after}
    for key, duration in durations.items():
        scale = key.startswith("scale.")
        if duration is not None and not (scale and duration in (0, 0.0)):
            yield from _tried(key, seconds_of, duration, LONGEST_WINDOW if scale else LONGEST_DURATION, "seconds")
    if section.limits.memory is not None:
        yield from _tried("limits.memory", bytes_of, section.limits.memory, MOST_MEMORY, "bytes")


def _tried(key: str, read: Callable[[Any], float], value: object, most: float, unit: str) -> Iterator[str]:
    try:
        found = read(value)
    except (ValueError, OverflowError) as error:
        yield f"{key}: {error}"
        return
    if found > most:
        yield f"{key}: {shown(value)} is above {most:.0f} {unit}"


def _twice(section: Section) -> Iterator[str]:
    directories = _directories(section)
    yield from (f"inherit lists {name!r} twice" for name in _repeated(section.inherit))
    yield from (f"path lists {directory!r} twice" for directory in _repeated(directories))
    if any(not text for text in (*directories, *section.inherit, *section.environment)):
        yield "path, inherit and environment must not hold an empty name"


def _repeated(texts: list[str]) -> list[str]:
    return sorted({text for text in texts if texts.count(text) > 1})
