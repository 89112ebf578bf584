"""A running mesh with the conformance plugins, and the conformance clients that talk to it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.languages.languages import Language

PATIENCE = 120.0
RETRY = "{max_attempts: 3, initial: 10ms, max_interval: 50ms}"


@dataclass
class ConformanceClient:
    """One client program: a line in, a line out."""

    process: subprocess.Popen[str]

    def ask(self, do: str, **about: Any) -> dict[str, Any]:
        """Its answer to one request."""
        requests, answers = self.process.stdin, self.process.stdout
        assert requests is not None
        assert answers is not None
        requests.write(json.dumps({"do": do, "seconds": PATIENCE} | about) + "\n")
        requests.flush()
        answer: dict[str, Any] = json.loads(answers.readline())
        return answer


@dataclass
class ConformanceMesh:
    """`forgemesh up` with a plugin of each language."""

    address: str
    folder: Path
    languages: dict[str, Language]
    clients: dict[str, ConformanceClient] = field(default_factory=dict)

    def client(self, language: str) -> ConformanceClient:
        """The client of a language, which stays for all tests."""
        if language not in self.clients:
            process = subprocess.Popen(
                self.languages[language].client,
                env={**os.environ, "FORGEMESH_ADDRESS": self.address},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self.clients[language] = ConformanceClient(process)
        return self.clients[language]

    def call(self, client: str, plugin: str, operation: str, given: object, **about: Any) -> dict[str, Any]:
        """One step that calls an operation of a language's plugin, asked for by a language's client."""
        workflow = f"{plugin}-{operation}"
        self.client(client).ask("register", source=source(workflow, plugin, operation))
        return self.client(client).ask("run", workflow=workflow, input=given, **about)

    def cli(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
        """What the command line says; it ends with one of these codes."""
        command = [sys.executable, "-m", "forgemesh.cli.main", *arguments]
        environment = {**os.environ, "FORGEMESH_ADDRESS": self.address}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode in codes, done.stderr
        return done.stdout

    def host(self, instance_id: str) -> dict[str, Any]:
        """One plugin host as the mesh sees it; nothing while it is not there."""
        hosts: list[dict[str, Any]] = json.loads(self.cli("status", "-o", "json", codes=(0, 1)))["instances"]
        return next((host for host in hosts if host["instance"] == instance_id), {})


def source(name: str, plugin: str, operation: str) -> str:
    """A workflow of one call."""
    call = f"{{plugin: conformance.{plugin}, operation: {operation}}}"
    lines = [
        f"name: {name}",
        "version: 1.0.0",
        f'steps: [{{id: a, call: {call}, input: "${{input}}", retry: {RETRY}}}]',
        'output: "${steps.a.output}"',
    ]
    return "\n".join(lines)


@contextlib.contextmanager
def running_mesh(folder: Path, languages: dict[str, Language]) -> Iterator[ConformanceMesh]:
    """The mesh once it is ready, until the block ends."""
    (folder / "forgemesh.toml").write_text("".join(_section(language) for language in languages.values()))
    command = [sys.executable, "-m", "forgemesh.cli.main", "up", "--any-port", "--config", "forgemesh.toml"]
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        facts = until(lambda: _facts(folder, process, len(languages)), folder / "up.log")
        mesh = ConformanceMesh(facts["services"]["orchestrator"]["address"], folder, languages)
        yield mesh
        for client in mesh.clients.values():
            client.process.communicate(timeout=PATIENCE)
    finally:
        process.terminate()
        process.wait(PATIENCE)


def until(look: Callable[[], Any], log: Path | None = None) -> Any:
    """What is there as soon as it is."""
    end = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < end, log.read_text() if log is not None else "it did not come"
        time.sleep(0.05)
    return found


def _facts(folder: Path, process: subprocess.Popen[bytes], hosts: int) -> dict[str, Any] | None:
    assert process.poll() is None, (folder / "up.log").read_text()
    file, said = folder / ".forgemesh" / "mesh.json", (folder / "up.log").read_text()
    if not file.exists() or "Ctrl-C stops the mesh" not in said:
        return None
    facts: dict[str, Any] = json.loads(file.read_text())
    return facts


def _section(language: Language) -> str:
    crashes = {"crashes": 1000, "within": "10m"}  # each client of each language kills each plugin
    facts = {**language.section, "config": {"greeting": "hello"}, "crash_budget": crashes}
    lines = [f"{key} = {_toml(value)}" for key, value in facts.items()]
    return "\n".join([f"[plugins.{language.name}]", *lines, ""])


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + "}"
    return json.dumps(value)
