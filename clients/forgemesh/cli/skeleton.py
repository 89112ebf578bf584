"""The files of a new project and of a new plugin."""

from __future__ import annotations

from string import Template

from forgemesh.cli.plugin_name import PluginName

PLUGINS, WORKFLOWS, TESTS = "plugins", "workflows", "tests"

CONFIG_HEAD = """\
# The plugins that `forgemesh up` runs, each in a process of its own. Paths are relative to this file.
"""

_SECTION = Template("""\

[plugins.$section]
load = "$load"
path = "$folder"
instances = 1
""")

_PLUGIN = Template('''\
"""The plugin $plugin_id."""

from dataclasses import dataclass

from forgemesh.plugin import Context, OperationError, operation, plugin


@dataclass
class Greeting:
    text: str


@plugin("$plugin_id", version="1.0.0")
class $class_name:
    """Greets people; make something of your own of it."""

    @operation(idempotent=True)
    async def greet(self, name: str, ctx: Context) -> Greeting:
        """A greeting for somebody."""
        if not name.strip():
            raise OperationError("NAME_EMPTY", "there is nobody to greet; give a name")
        ctx.logger.info("greeting %s", name)
        return Greeting(text=f"Hello, {name}!")
''')

_WORKFLOW = Template("""\
name: greet
version: 1.0.0
input: {name: string}
timeout: 1m
steps:
  - id: greet
    call: {plugin: $plugin_id, operation: greet}
    input: {name: "$${input.name}"}
    retry: {max_attempts: 3}
output: "$${steps.greet.output.text}"
""")

_TEST = Template('''\
"""The plugin $plugin_id, in a process of its own as in a mesh."""

import asyncio
from pathlib import Path

import pytest

from forgemesh.plugin import OperationError
from forgemesh.testing import run_plugin

$place


def greet(name):
    async def call():
        async with run_plugin("$load", path=PROJECT / "$folder") as host:
            return await host.call("greet", name=name)

    return asyncio.run(call())


def test_it_greets_by_name():
    assert greet("Ada") == {"text": "Hello, Ada!"}


def test_it_greets_nobody():
    with pytest.raises(OperationError) as failed:
        greet(" ")

    assert failed.value.reason == "NAME_EMPTY"
''')

_WORKFLOW_TEST = Template("""

def test_the_workflow_tries_a_second_time():
    with WorkflowEnvironment(PROJECT / "workflows" / "greet.yaml") as play:
        greet = play.on("$plugin_id", "greet")
        greet.fails("BUSY", retryable=True, times=1).then.returns({"text": "Hello, Ada!"})
        outcome = play.run({"name": "Ada"})

    assert outcome.output == "Hello, Ada!"
    assert outcome.steps["greet"].attempts == 2
""")

_README = Template("""\
# $project

A project for [ForgeMesh](https://pypi.org/project/forgemesh/).

| file | what it is |
|---|---|
| `forgemesh.toml` | which plugins run, and how many processes serve each |
| `$folder/$module.py` | a plugin with one operation |
| `workflows/greet.yaml` | a workflow that calls it |
| `tests/test_$module.py` | tests of both, without a mesh |

```sh
pytest                                            # needs `pip install pytest`
forgemesh up                                      # starts the mesh; Ctrl-C stops it
forgemesh run workflows/greet.yaml -i name=Ada    # in another terminal
```

Then:

- change `$folder/$module.py` while `forgemesh up --reload` runs: the plugin is replaced without a gap;
- `forgemesh plugin new NAME` adds a plugin, `forgemesh plugin check` says what is wrong with any of them;
- `forgemesh plugin call $plugin_id/greet name=Ada` calls an operation without a workflow;
- `forgemesh --help` lists the rest.
""")


def project_files(project: str, name: PluginName) -> dict[str, str]:
    """Texts by the path of their file in the project's folder."""
    words = _words(name, PLUGINS) | {"project": project}
    test = plugin_test(name, PLUGINS).replace("import run_plugin", "import WorkflowEnvironment, run_plugin")
    return {
        "forgemesh.toml": CONFIG_HEAD + section(name, PLUGINS),
        f"{PLUGINS}/{name.module}.py": plugin_text(name),
        f"{WORKFLOWS}/greet.yaml": _WORKFLOW.substitute(words),
        f"{TESTS}/test_{name.module}.py": test + _WORKFLOW_TEST.substitute(words),
        "README.md": _README.substitute(words),
    }


def section(name: PluginName, folder: str) -> str:
    """Its table in forgemesh.toml, after an empty line."""
    return _SECTION.substitute(_words(name, folder))


def plugin_text(name: PluginName) -> str:
    """The plugin itself."""
    return _PLUGIN.substitute(_words(name, ""))


def plugin_test(name: PluginName, folder: str) -> str:
    """A test of it, for the folder `tests` beside the plugins' one."""
    return _TEST.substitute(_words(name, folder) | {"place": "PROJECT = Path(__file__).parents[1]"})


def _words(name: PluginName, folder: str) -> dict[str, str]:
    return {
        "plugin_id": name.plugin_id,
        "section": name.section,
        "module": name.module,
        "class_name": name.class_name,
        "load": name.load,
        "folder": folder,
    }
