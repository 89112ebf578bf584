"""What the start of a process does not load: it costs each of them time and memory, and few ever need it."""

import subprocess
import sys

import pytest

PROCESSES = (
    "forgemesh.registry.main",
    "forgemesh.balancer.main",
    "forgemesh.orchestrator.main",
    "forgemesh.traces.main",
    "forgemesh.plugin_host.supervisor.main",
    "forgemesh.plugin_host.main",
)
NOT_LOADED = {
    "attr": "of jsonschema",
    "cyclopts": "of the command line",
    "forgemesh.cli": "of the command line",
    "forgemesh.client": "of those who call the mesh",
    "forgemesh.testing": "of those who test plugins",
    "grpc_reflection.v1alpha": "served where a setting says so",
    "jsonschema": "used when a value is first checked by a schema",
    "multiprocessing": "of authors' code",
    "pydoc": "of a terminal",
    "referencing": "of jsonschema",
    "rich": "of a terminal",
    "unittest": "of tests",
}


def loaded_by(modules: tuple[str, ...]) -> set[str]:
    """All that is loaded once these are, in a process of their own."""
    program = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    return set(run.stdout.split())


def packages(modules: set[str]) -> set[str]:
    """The names, and those of all packages around them."""
    return {name.rsplit(".", levels)[0] for name in modules for levels in range(name.count(".") + 1)}


def test_no_process_of_a_mesh_loads_at_its_start_what_few_need() -> None:
    loaded = packages(loaded_by(PROCESSES))

    assert sorted(loaded & NOT_LOADED.keys()) == []


@pytest.mark.parametrize("package", ["grpc", "google", "rich", "jsonschema", "forgemesh.client"])
def test_the_command_line_loads_nothing_before_it_knows_the_command(package: str) -> None:
    assert package not in packages(loaded_by(("forgemesh.cli.main",)))


def test_a_plugin_host_does_not_load_what_asks_for_installed_packages() -> None:
    assert "importlib.metadata" not in loaded_by(("forgemesh.plugin_host.main",))
