"""The command `forgemesh`: global options, the commands by name, and the end of every one of them."""

from __future__ import annotations

from forgemesh.chassis.first_process import collect_rarely, end_on_sigterm

end_on_sigterm()
collect_rarely()

import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # read at import; what is started here is exec'ed at once

import asyncio
import inspect
import io
import itertools
import logging
import sys
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Group, Parameter

from forgemesh.chassis.descriptors import too_few_descriptors
from forgemesh.cli.command_line import CommandLine, Given, switch
from forgemesh.cli.exits import MEANINGS, ExitCode
from forgemesh.cli.problem import Problem, problem_of, usage
from forgemesh.cli.terminal import LogHandler, Terminal
from forgemesh.faults import Fault

_HELP = """A mesh of plugin processes and durable workflows.

Exit codes:

""" + "\n".join(f"* {int(code)}: {meaning}" for code, meaning in MEANINGS.items())

_GROUPS = {
    "execution": "See and control executions.",
    "workflow": "See and register workflows.",
    "schedule": "Start workflows by the clock.",
    "plugin": "Write, see and control plugins.",
    "circuit": "See which instances are called, and decide about it.",
    "policy": "See and change how calls are spread over instances.",
    "trace": "See traces.",
    "k8s": "Run plugins on Kubernetes.",
    "xds": "Call plugins with stock gRPC clients.",
}
_SHORT = {"execution": ("x",), "workflow": ("wf",), "circuit": ("cb",)}
"""Other names of groups that are typed often."""
_COMMANDS = (
    ("init", "project:init", "Make a project with a plugin, a workflow and a test."),
    ("up", "up:up", "Start a mesh on this machine and keep it until Ctrl-C."),
    ("down", "down:down", "Stop the mesh that runs in a data directory."),
    ("status", "status:status", "Show the services and plugin instances of the mesh."),
    ("run", "run:run", "Run a workflow and wait for its result."),
    ("execution list", "executions:list_", "List executions, newest first."),
    ("execution show", "execution_page:show", "Show one execution and its steps."),
    ("execution watch", "executions:watch", "Follow an execution until it has ended."),
    ("execution wait", "waiting:wait", "Wait until an execution has ended, or stands as you say."),
    ("execution result", "waiting:result", "Print the result of an execution, once it has ended."),
    ("execution explain", "explanation:explain", "Say why an execution does not move, and when it will."),
    ("execution pause", "execution_control:pause", "Start nothing new in an execution until it is resumed."),
    ("execution resume", "execution_control:resume", "Let a paused execution go on."),
    ("execution cancel", "execution_control:cancel", "Stop an execution and undo what it did."),
    ("execution terminate", "execution_control:terminate", "End an execution at once; nothing is undone."),
    ("execution signal", "execution_control:signal", "Send a signal to an execution."),
    ("execution resolve", "execution_control:resolve", "Decide about a step that waits for a person."),
    ("execution checkpoints", "forks:checkpoints", "List the points from which an execution can be forked."),
    ("execution fork", "forks:fork", "Start a new execution from a checkpoint of another one."),
    ("execution export", "archives:export", "Write an execution to a file that another mesh can import."),
    ("execution import", "archives:import_", "Take over an execution that another mesh has exported."),
    ("execution replay", "replay:replay", "Play an exported execution back, event by event, without a mesh."),
    ("execution delete", "execution_control:delete", "Forget an execution that has ended."),
    ("workflow register", "workflows:register", "Register a workflow."),
    ("workflow validate", "workflows:validate", "Check a workflow and keep nothing."),
    ("workflow list", "workflows:list_", "List registered workflows."),
    ("workflow show", "workflows:show", "Print a workflow as it was registered."),
    ("schedule create", "schedules:create", "Create a schedule that starts a workflow by itself."),
    ("schedule list", "schedules:list_", "List schedules."),
    ("schedule show", "schedules:show", "Show one schedule and what it decided last."),
    ("schedule pause", "schedules:pause", "Start nothing by a schedule's timetable until it is resumed."),
    ("schedule resume", "schedules:resume", "Let a paused schedule go on."),
    ("schedule trigger", "schedules:trigger", "Start a schedule's workflow once, now."),
    ("schedule backfill", "schedules:backfill", "Start a schedule's workflow for moments of the past."),
    ("schedule delete", "schedules:delete", "Forget a schedule."),
    ("schedule preview", "schedules:preview", "Print the next moments of a schedule."),
    ("plugin list", "plugins:list_", "List the plugins that the mesh knows."),
    ("plugin resolve", "version_rules:resolve", "Say which versions of which plugins belong together."),
    ("plugin providers", "version_rules:providers", "List the instances that provide something, the best one first."),
    ("plugin quarantine", "version_rules:quarantine", "Take a version of a plugin out of use."),
    ("plugin release", "version_rules:release", "Let a version back into use that was in quarantine."),
    ("plugin pin", "version_rules:pin", "Hold a plugin to a range of versions."),
    ("plugin unpin", "version_rules:unpin", "Let a plugin go that was held to a range."),
    ("plugin check", "plugin_check:check", "Show what plugins offer, or all that is wrong with them."),
    ("plugin publish", "plugin_publish:publish", "Put plugins into the catalogue without serving them."),
    ("plugin describe", "plugin_page:describe", "Show what a plugin offers, and who serves it."),
    ("plugin call", "plugin_call:call", "Call one operation of a plugin."),
    ("plugin serve", "plugin_serve:serve", "Serve a plugin from here, in the foreground."),
    ("plugin hosts", "plugin_hosts:hosts", "List the plugin processes of the machine and where each stands."),
    ("plugin logs", "plugin_logs:logs", "Print what plugins have written."),
    ("plugin load", "plugin_control:load", "Start plugins and what they need."),
    ("plugin unload", "plugin_control:unload", "Stop a plugin and keep it stopped."),
    ("plugin reload", "plugin_control:reload", "Replace the processes of a plugin without a gap."),
    ("plugin scale", "plugin_control:scale", "Say how many processes are to serve a plugin."),
    ("plugin reset", "plugin_control:reset", "Forget crashes and start hosts again."),
    ("plugin configure", "plugin_control:configure", "Give a plugin another configuration while it runs."),
    ("plugin new", "project:new", "Add a plugin to a project: file, section and test."),
    ("circuit list", "circuits:list_", "List the circuits of instances."),
    ("circuit show", "circuits:show", "Show what circuits saw, and why they stand where they stand."),
    ("circuit open", "circuits:open_", "Let no call pass until further notice."),
    ("circuit close", "circuits:close", "Let all calls pass until further notice."),
    ("circuit observe", "circuits:observe", "Let all calls pass, and say when the circuit would open."),
    ("circuit reset", "circuits:reset", "Close circuits and let their record decide from now on."),
    ("circuit history", "circuit_history:history", "Tell what happened to circuits, health, load and policies."),
    ("pick", "picks:pick", "Show whom the balancer would have called."),
    ("policy show", "policies:show", "Show the policy of a plugin."),
    ("policy set", "policies:set_", "Change the policy of a plugin."),
    ("trace show", "traces:show", "Show the trace of an execution as a tree."),
    ("trace list", "traces:list_", "List the newest traces."),
    ("trace export", "trace_export:export", "Write a trace for other tools."),
    ("trace import", "trace_export:import_", "Store a trace that was exported."),
    ("k8s manifest", "kubernetes_manifest:manifest", "Print what is applied so that pods serve a plugin."),
    ("xds bootstrap", "xds_bootstrap:bootstrap", "Write the file by which stock gRPC clients find the balancer."),
    ("version", "version:version", "Print the version."),
)
_ANYWHERE = Group("Global options", sort_key=9)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code. Every problem is told on stderr, a bug with its traceback only under -v."""
    given = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    terminal, verbose = Terminal(sys.stdout, sys.stderr, _wants_json(given), sys.stdin), _wants_traceback(given)
    logging.basicConfig(level=logging.INFO if verbose else logging.CRITICAL, handlers=[LogHandler(terminal)])
    try:
        if shortage := too_few_descriptors():
            raise Problem(ExitCode.FAILED, shortage, reason="TOO_FEW_FILES", code="RESOURCE_EXHAUSTED")
        return int(_app(terminal, given).meta(given, exit_on_error=False, print_error=False) or ExitCode.OK)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains once more at its end
        return ExitCode.FAILED
    except Exception as error:  # noqa: BLE001 - the seam between commands and people
        if verbose:
            terminal.traceback(error)
        problem = _problem(error)
        terminal.problem(problem)
        return problem.exit_code


def _app(terminal: Terminal, given: list[str]) -> App:
    app = App(name="forgemesh", help=_HELP, version_flags=(), help_format="markdown", result_action="return_value")
    _add_commands(app, given)

    @app.meta.default
    def launch(
        *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        address: Annotated[str | None, Parameter(group=_ANYWHERE)] = None,
        namespace: Annotated[str | None, Parameter(group=_ANYWHERE)] = None,
        output: Annotated[Literal["table", "json"], Parameter(name=["-o", "--output"], group=_ANYWHERE)] = "table",
        verbose: Annotated[bool, switch("-v", "--verbose", group=_ANYWHERE)] = False,
    ) -> object:
        """
        Run a command.

        Parameters
        ----------
        address
            The orchestrator's host:port; else FORGEMESH_ADDRESS, else the mesh of the nearest .forgemesh folder.
        namespace
            Where workflows and executions live; `default` if not given.
        output
            Tables and sentences for people, or JSON for programs, errors included.
        verbose
            Also show logs, and tracebacks of errors.
        """
        command, bound, injected = app.parse_args(tokens, exit_on_error=False, print_error=False)
        if "line" in injected:
            bound.arguments["line"] = CommandLine(
                terminal=terminal, address=address, namespace=namespace or "default", named_namespace=namespace
            )
        outcome = command(*bound.args, **bound.kwargs)
        return asyncio.run(outcome) if inspect.iscoroutine(outcome) else outcome

    return app


def _add_completion(app: App) -> None:
    """It tells of all commands, so that it is the one that knows the whole."""

    @app.command
    def completion(shell: Literal["bash", "zsh", "fish"], /, *, line: Given) -> None:
        """
        Print what makes a shell complete commands and options.

        Examples:

            source <(forgemesh completion bash)

            forgemesh completion zsh > ~/.zfunc/_forgemesh

            forgemesh completion fish > ~/.config/fish/completions/forgemesh.fish

        Parameters
        ----------
        shell
            Whose language it is in.
        """
        script = app.generate_completion(prog_name="forgemesh", shell=shell)
        if line.terminal.json:
            line.terminal.value({"shell": shell, "script": script})
        else:
            line.terminal.data(*script.splitlines())


def _add_commands(app: App, given: list[str]) -> None:
    """By import path, so that a module is loaded when it is called; the command that is named tells its own help."""
    groups = {
        name: App(name=[name, *_SHORT.get(name, ())], help=brief, version_flags=()) for name, brief in _GROUPS.items()
    }
    long = {short: name for name, others in _SHORT.items() for short in others}
    said = {long.get(word, word) for word in given}
    for words, place, brief in _COMMANDS:
        *group, name = words.split()
        help_ = {} if set(words.split()) <= said else {"help": brief}
        (groups[group[0]] if group else app).command(f"forgemesh.cli.{place}", name=name, **help_)
    for one in groups.values():
        app.command(one)
    _add_completion(app)


def _problem(error: Exception) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, Fault):
        return problem_of(error)
    if isinstance(error, CycloptsError):
        place = " ".join(("forgemesh", *(error.command_chain or ())))
        return usage(str(error), hint=f"{place} --help")
    return Problem(
        ExitCode.FAILED,
        f"a bug in forgemesh: {type(error).__name__}: {error}",
        reason="INTERNAL",
        code="INTERNAL",
        hint="the same command with -v shows where it happened",
    )


def _wants_json(arguments: list[str]) -> bool:
    pairs = itertools.zip_longest(arguments, arguments[1:], fillvalue="")
    return any(
        pair in (("-o", "json"), ("--output", "json")) or pair[0] in ("-ojson", "-o=json", "--output=json")
        for pair in pairs
    )


def _wants_traceback(arguments: list[str]) -> bool:
    return "-v" in arguments or "--verbose" in arguments


if __name__ == "__main__":
    sys.exit(main())
