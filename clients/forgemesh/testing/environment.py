"""A workflow with the plugins that a test plays for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol, Self, TypeAlias

from forgemesh.testing.outcome import Call, Outcome
from forgemesh.testing.problem import Refused, Stuck, Unscripted
from forgemesh.testing.script import Script
from forgemesh.testing.span import Span, seconds_of
from forgemesh.testing.worker import Worker

LONGEST = 36_500 * 86_400.0
"""Seconds of virtual time that a run may take at most."""


class Written(Protocol):
    """A workflow written in Python, see forgemesh.client.workflow."""

    def to_yaml(self) -> str:
        """Its text."""


Source: TypeAlias = str | Path | Written
"""The path of a definition, its text if it has more than one line, or one that is written in Python."""


class WorkflowEnvironment:
    """
    Runs a definition, and `children` that its steps start, as often as a test likes.

    A context manager: the process behind it starts with the first run and is gone at the end. Chance is seeded with
    `seed`, so that every run of a script goes the same way. A run may take `limit` of virtual time, and may be silent
    for `patience` real seconds.
    """

    def __init__(
        self,
        definition: Source,
        *,
        children: Iterable[Source] = (),
        seed: int = 0,
        limit: Span = "3650d",
        patience: float = 30.0,
    ) -> None:
        self._sources = (*children, definition)
        self._seed = seed
        self._limit = seconds_of(limit)
        if self._limit > LONGEST:
            raise ValueError(f"limit={limit!r} is too long: time can be told exactly for a hundred years")
        self._patience = patience
        self._operations: dict[tuple[str, str], Script] = {}
        self._steps: dict[str, Script] = {}
        self._signals: list[dict[str, Any]] = []
        self._cancel_after: float | None = None
        self._worker: Worker | None = None
        self._workflow = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process; the next run starts another one."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def on(self, plugin: str, operation: str) -> Script:
        """A fresh script for the calls of an operation, whoever calls it; an interface counts as a plugin."""
        script = self._operations[plugin, operation] = Script(f"{plugin} {operation}")
        return script

    def at(self, step_path: str) -> Script:
        """
        A fresh script for the calls of one step, which goes before that of its operation.

        `*` stands for anything: `each/*/charge` is the step in all iterations. The call that undoes the step `reserve`
        is `reserve:compensate`.
        """
        script = self._steps[step_path] = Script(f"step {step_path}")
        return script

    def signal(self, name: str, payload: Any = None, *, after: Span | None = None) -> None:
        """
        Send a signal in the next run: so long after its start, or as soon as a step waits for it and nothing else goes
        on.
        """
        moment = seconds_of(after) if after is not None else None
        self._signals.append({"name": name, "payload": payload, "after": moment})

    def cancel(self, *, after: Span) -> None:
        """Cancel the execution of the next run so long after its start."""
        self._cancel_after = seconds_of(after)

    def run(self, input: Any = None) -> Outcome:  # noqa: A002 - what everybody calls it
        """
        Run the workflow until it has ended.

        Raises Refused for a definition or an input that the engine does not take, Unscripted for a call that no script
        answers, Stuck if the execution can never end, and whatever a function in a script raises.
        """
        __tracebackhide__ = True
        asked = {
            "workflow": "",
            "input": {} if input is None else input,
            "signals": self._signals,
            "cancel_after": self._cancel_after,
            "limit": self._limit,
            "seed": self._seed,
        }
        self._signals, self._cancel_after = [], None
        try:
            worker = self._ready()
            worker.say("run", asked | {"workflow": self._workflow})
            return self._play(worker)
        except Stuck:
            raise
        except BaseException:
            self.close()
            raise

    def _ready(self) -> Worker:
        """The process, with all definitions registered."""
        __tracebackhide__ = True
        if self._worker is None:
            self._worker = Worker(self._patience)
            for source in self._sources:
                name, text = _read(source)
                self._worker.say("register", {"source": text})
                kind, said = self._worker.hear()
                if kind == "refused":
                    raise _refused(name, said)
                self._workflow = said["workflow"]
        return self._worker

    def _play(self, worker: Worker) -> Outcome:
        """Answer calls until the run is over."""
        __tracebackhide__ = True
        calls: list[Call] = []
        while True:
            kind, said = worker.hear()
            match kind:
                case "call":
                    number = said.pop("number")
                    calls.append(Call(**said))
                    self._answer(worker, number, calls[-1])
                case "ended":
                    return Outcome.told(said, calls)
                case "stuck":
                    raise _stuck(said, calls)
                case _:
                    raise _refused(f"the start of {self._workflow!r}", said)

    def _answer(self, worker: Worker, number: int, call: Call) -> None:
        __tracebackhide__ = True
        script = self._script(call)
        answer = script.answer(call) if script is not None else None
        if answer is None:
            raise Unscripted(self._unscripted(call, script))
        try:
            worker.say("answer", {**answer, "number": number})
        except (TypeError, ValueError) as error:
            assert script is not None
            raise TypeError(f"the script of {script.name} answers with what is not JSON: {error}") from error

    def _script(self, call: Call) -> Script | None:
        exact = self._steps.get(call.step_path)
        if exact is not None:
            return exact
        pattern = next((pattern for pattern in self._steps if fnmatchcase(call.step_path, pattern)), None)
        if pattern is not None:
            return self._steps[pattern]
        return self._operations.get((call.plugin, call.operation))

    def _unscripted(self, call: Call, script: Script | None) -> str:
        where = f"step {call.step_path!r} (attempt {call.attempt}, {call.at:g} s after the start)"
        what = f"{where} called {call.operation!r} of {call.plugin!r} with {call.input!r}"
        if script is not None:
            return f"{what}, and the script of {script.name} is over; let its last answer have no `times`, or add one"
        known = [script.name for script in (*self._operations.values(), *self._steps.values())]
        listed = f"\n  scripted: {', '.join(known)}" if known else ""
        hint = f'play.on("{call.plugin}", "{call.operation}").returns(...)'
        return f"{what}, and no script answers it\n  add: {hint}{listed}"


def _read(source: Source) -> tuple[str, str]:
    """What to call a definition, and its text."""
    if not isinstance(source, str | Path):
        return "the definition", source.to_yaml()
    if isinstance(source, str) and "\n" in source:
        return "the definition", source
    return str(source), Path(source).read_text(encoding="utf-8")


def _refused(subject: str, said: Mapping[str, Any]) -> Refused:
    mistakes = [": ".join(filter(None, (one["field"], one["message"]))) for one in said["violations"]]
    return Refused(subject, said["reason"], said["message"], mistakes)


def _stuck(said: dict[str, Any], calls: list[Call]) -> Stuck:
    why = "the next thing comes after the run's `limit`" if said.pop("out_of_time") else "nothing will happen any more"
    lines = [f"the execution is {said['status']} after {said['elapsed']:g} s, and {why}:"]
    for one in said.pop("hindrances"):
        place = f"step {one['step_path']!r}: " if one["step_path"] else ""
        advice = f'add play.signal("{one["signal"]}", ...) before the run' if one["signal"] else one["message"]
        lines.append(f"  {place}{one['reason']}: {advice}")
    return Stuck("\n".join(lines), Outcome.told(said, calls))
