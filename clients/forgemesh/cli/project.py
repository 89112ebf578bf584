"""`forgemesh init` and `forgemesh plugin new`."""

from __future__ import annotations

import os
import shlex
import shutil
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from forgemesh.cli.command_line import Given
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.plugin_name import PluginName, project_name
from forgemesh.cli.plugin_sections import CONFIG, no_config
from forgemesh.cli.problem import Problem, usage
from forgemesh.cli.skeleton import PLUGINS, TESTS, plugin_test, plugin_text, project_files, section
from forgemesh.client.mesh_file import DATA_DIRECTORY

_README = "README.md"
_IGNORED = f"{DATA_DIRECTORY}/"
_WORDS = {
    CONFIG: "which plugins run",
    PLUGINS: "a plugin",
    "workflows": "a workflow that calls it",
    TESTS: "tests without a mesh",
    _README: "what to do next",
    ".gitignore": "leaves the mesh's data out",
}


def init(folder: Path = Path(), /, *, name: str | None = None, line: Given) -> None:
    """
    Make a project: forgemesh.toml, a plugin, a workflow that calls it, and a test.

    Nothing that is there already is changed; only a .gitignore gets one more line. Exits with 4 if a file is in the
    way.

    Parameters
    ----------
    folder
        Where to; the working directory if not given.
    name
        What the ids of its plugins begin with; made from the folder's name if not given.
    """
    project = name if name is not None else project_name(folder.resolve().name)
    plugin = PluginName.of(f"{project}.greeter")
    files = project_files(project, plugin)
    if (folder / _README).exists():
        del files[_README]
    _refuse_existing(folder, files)
    _write(folder, files)
    made = [*files, *_ignore(folder / ".gitignore")]
    following = [
        *([shlex.join(["cd", str(folder)])] if folder.resolve() != Path.cwd() else []),
        "pytest",
        "forgemesh up",
        "forgemesh run workflows/greet.yaml -i name=Ada",
    ]
    if line.terminal.json:
        line.terminal.value({"project": project, "folder": str(folder.resolve()), "files": made, "next": following})
        return
    line.terminal.data(f"made the project {project!r} in {folder.resolve()}")
    _list(made, line)
    notes = {"pytest": "test the plugin and the workflow", "forgemesh up": "start the mesh, until Ctrl-C"}
    line.terminal.talk("Next:")
    width = max(map(len, following))
    for command in following:
        note = notes.get(command, "in another terminal" if command.startswith("forgemesh run") else "")
        line.terminal.talk(f"  {command:<{width}}   {note}".rstrip())


def new(name: str, /, *, config: Path = Path(CONFIG), folder: str = PLUGINS, line: Given) -> None:
    """
    Add a plugin to a project: its file, its section in forgemesh.toml, and a test.

    The rest of forgemesh.toml stays as it is, with its comments. Exits with 4 if a file or a section is in the way.

    Parameters
    ----------
    name
        The plugin's id, such as shop.stock; its last part names the file and the section.
    config
        The project's forgemesh.toml.
    folder
        Where the plugin's file goes, relative to the configuration.
    """
    plugin, root = PluginName.of(name), config.parent
    files = {
        f"{folder}/{plugin.module}.py": plugin_text(plugin),
        f"{TESTS}/test_{plugin.module}.py": plugin_test(plugin, folder),
    }
    text = _with_section(config, plugin, folder)
    _refuse_existing(root, files)
    _write(root, files)
    _replace(config, text)
    if line.terminal.json:
        section_ = {"name": plugin.section, "load": plugin.load}
        line.terminal.value({"plugin_id": plugin.plugin_id, "section": section_, "files": [*files, config.name]})
        return
    line.terminal.data(f"added the plugin {plugin.plugin_id} to {config}, section [plugins.{plugin.section}]")
    _list(files, line)
    option = "" if config == Path(CONFIG) else f" --config {config}"
    line.terminal.talk("Next:")
    check, load = f"forgemesh plugin check {plugin.section}{option}", f"forgemesh plugin load {plugin.section}"
    line.terminal.talk(f"  {check:<{max(len(check), len(load))}}   what it offers, and what is wrong with it")
    line.terminal.talk(f"  {load:<{max(len(check), len(load))}}   start it in a mesh that runs already")


def _list(files: Iterable[str], line: Given) -> None:
    listed = list(files)
    width = max(map(len, listed))
    for file in listed:
        line.terminal.data(f"  {file:<{width}}   {_WORDS.get(file) or _WORDS.get(file.partition('/')[0], '')}".rstrip())


def _refuse_existing(folder: Path, files: Iterable[str]) -> None:
    there = [file for file in files if os.path.lexists(folder / file)]
    if not there:
        return
    more = "another plugin: forgemesh plugin new NAME" if CONFIG in there else "move them away"
    raise Problem(
        ExitCode.REFUSED,
        f"nothing was written: {', '.join(str(folder / file) for file in there)} "
        f"{'exists' if len(there) == 1 else 'exist'} already",
        reason="FILE_EXISTS",
        code="ALREADY_EXISTS",
        hint=f"for {more}" if CONFIG in there else f"{more}, or take another name or folder",
    )


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        file = folder / name
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("x", encoding="utf-8") as written:
                written.write(text)
        except OSError as error:
            raise _unwritable(file, error) from error


def _ignore(file: Path) -> list[str]:
    """Let version control leave the mesh's data out; the file's name if it was new or got a line."""
    text = file.read_text(encoding="utf-8", errors="surrogateescape") if file.exists() else ""
    if any(line.strip().strip("/") == DATA_DIRECTORY for line in text.splitlines()):
        return []
    text += "\n" if text and not text.endswith("\n") else ""
    try:
        file.write_text(f"{text}{_IGNORED}\n", encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise _unwritable(file, error) from error
    return [file.name]


def _with_section(config: Path, plugin: PluginName, folder: str) -> str:
    """The text of the configuration with one more section at its end; raises Problem if that cannot be."""
    try:
        with config.open(encoding="utf-8", newline="") as file:
            text = file.read()
        before = tomllib.loads(text)
    except FileNotFoundError as error:
        raise no_config(config) from error
    except OSError as error:
        raise usage(f"cannot read {config}: {error.strerror}", reason="CONFIG_INVALID") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise usage(f"{config} is not valid TOML: {error}", reason="CONFIG_INVALID") from error
    plugins = before.get("plugins", {})
    if isinstance(plugins, dict) and plugin.section in plugins:
        raise Problem(
            ExitCode.REFUSED,
            f"{config} has a section [plugins.{plugin.section}] already",
            reason="SECTION_EXISTS",
            code="ALREADY_EXISTS",
            hint="take another name, or change that section",
        )
    added, newline = section(plugin, folder), "\r\n" if "\r\n" in text else "\n"
    joined = text + (newline if text and not text.endswith("\n") else "") + added.replace("\n", newline)
    try:
        tomllib.loads(joined)
    except tomllib.TOMLDecodeError as error:
        raise usage(
            f"{config} holds [plugins] in a form to which no section can be added",
            f"write there yourself:\n{added.strip()}",
            reason="CONFIG_INVALID",
        ) from error
    return joined


def _replace(config: Path, text: str) -> None:
    """The file is whole at every moment, and keeps its mode."""
    file = config.resolve()
    part = file.with_name(f".{file.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as written:
            written.write(text)
        shutil.copymode(file, part)
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise _unwritable(config, error) from error


def _unwritable(file: Path, error: OSError) -> Problem:
    return Problem(
        ExitCode.FAILED,
        f"cannot write {file}: {error.strerror}",
        reason="FILE_UNWRITABLE",
        hint="choose a folder that you may write to",
    )
