"""`forgemesh init` and `forgemesh plugin new`."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from forgemesh.cli.command_line import CommandLine, Given
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.language_skeleton import LANGUAGES, ForeignLanguage, plugin_files, plugin_section
from forgemesh.cli.plugin_name import PluginName, project_name
from forgemesh.cli.plugin_sections import CONFIG, no_config
from forgemesh.cli.problem import Problem, usage
from forgemesh.cli.skeleton import CONFIG_HEAD, PLUGINS, TESTS, plugin_test, plugin_text, project_files, section
from forgemesh.client.mesh_file import DATA_DIRECTORY

_README = "README.md"
_LINES_SHOWN = 5
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


def new(
    name: str,
    /,
    *,
    language: Literal["python", "go", "java"] = "python",
    config: Path = Path(CONFIG),
    folder: str = PLUGINS,
    sdk: Path | None = None,
    line: Given,
) -> None:
    """
    Add a plugin to a project: its file, its section in forgemesh.toml, and a test.

    The rest of forgemesh.toml stays as it is, with its comments. Exits with 4 if a file or a section is in the way.
    In another language than Python it is a folder of its own that builds itself, and makes a forgemesh.toml that is
    missing.

    Parameters
    ----------
    name
        The plugin's id, such as shop.stock; its last part names the file and the section.
    language
        What it is written in.
    config
        The project's forgemesh.toml.
    folder
        Where the plugin's file goes, relative to the configuration.
    sdk
        The library of another language, such as clients/go of a checkout; it stands there beside this program if not
        given.
    """
    plugin, root = PluginName.of(name), config.parent
    if language != "python":
        _new_in(LANGUAGES[language], plugin, config, folder, sdk, line)
        return
    files = {
        f"{folder}/{plugin.module}.py": plugin_text(plugin),
        f"{TESTS}/test_{plugin.module}.py": plugin_test(plugin, folder),
    }
    text = _with_section(config, plugin, section(plugin, folder))
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


def _new_in(
    language: ForeignLanguage, plugin: PluginName, config: Path, folder: str, sdk: Path | None, line: CommandLine
) -> None:
    if missing := [program for program in language.programs if shutil.which(program) is None]:
        raise usage(
            f"a plugin in {language.title} needs {' and '.join(missing)}, which is not on the PATH",
            hint="install it, and say this again",
            reason="TOOLCHAIN_MISSING",
        )
    files = plugin_files(language, plugin, folder, _library(language, sdk))
    if not config.exists():
        files = {config.name: CONFIG_HEAD + plugin_section(language, plugin, folder)} | files
        text = None
    else:
        text = _with_section(config, plugin, plugin_section(language, plugin, folder))
    _refuse_existing(config.parent, files)
    _write(config.parent, files)
    if text is None:
        files |= dict.fromkeys(_ignore(config.parent / ".gitignore"), "")
    else:
        _replace(config, text)
    line.terminal.talk(
        f"ForgeMesh's library for {language.title} is published nowhere; this plugin uses that of a checkout.",
        "building it, which takes a while the first time ...",
    )
    _build(config.parent / folder / plugin.section / "run.sh")
    if line.terminal.json:
        made = list(dict.fromkeys([*files, config.name]))
        line.terminal.value({"plugin_id": plugin.plugin_id, "section": {"name": plugin.section}, "files": made})
        return
    line.terminal.data(f"added the plugin {plugin.plugin_id} in {language.title}, section [plugins.{plugin.section}]")
    _list(files, line)
    start = f"forgemesh plugin load {plugin.section}" if text else "forgemesh up"
    call = f"forgemesh plugin call {plugin.plugin_id}/greet name=Ada"
    line.terminal.talk("Next:")
    line.terminal.talk(f"  {start:<{len(call)}}   start it")
    line.terminal.talk(f"  {call}   in another terminal")


def _build(script: Path) -> None:
    """What the tools of its language say is shown only if it does not succeed."""
    done = subprocess.run([script.resolve(), "build"], capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise Problem(
            ExitCode.FAILED,
            f"the plugin's files are written, but it cannot be built: {' / '.join(said[:_LINES_SHOWN])}",
            reason="BUILD_FAILED",
            hint=f"see all that is said, and mend it: {shlex.quote(str(script))} build",
        )


def _library(language: ForeignLanguage, sdk: Path | None) -> Path:
    """Where the language's library is, in the repository that this program runs from or where its user says."""
    library = sdk if sdk is not None else Path(__file__).parents[2] / language.library
    if not (library / "README.md").is_file():
        raise usage(
            f"ForgeMesh's library for {language.title} is not in {library}, and it is published nowhere",
            hint=f"get a checkout of ForgeMesh, and name its folder: --sdk CHECKOUT/clients/{language.library}",
            reason="LIBRARY_MISSING",
        )
    return library.resolve()


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
            if file.suffix == ".sh":
                file.chmod(0o755)
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


def _with_section(config: Path, plugin: PluginName, added: str) -> str:
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
    newline = "\r\n" if "\r\n" in text else "\n"
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
