import pytest

from forgemesh.cli.exits import BY_CODE, MEANINGS, ExitCode
from forgemesh.cli.problem import problem_of
from forgemesh.faults import Code, Fault, plugin, registry, routing, service, tracing, workflow


def test_every_canonical_code_has_an_exit_code() -> None:
    assert set(BY_CODE) == set(Code)


def test_every_exit_code_is_explained() -> None:
    assert set(MEANINGS) == set(ExitCode)


@pytest.mark.parametrize(
    ("fault", "exit_code"),
    [
        (workflow.DefinitionNotFound("etl", "", ["weather"]), 3),
        (workflow.ExecutionNotFound("x1"), 3),
        (tracing.TraceNotFound("x1"), 3),
        (registry.PluginNotFound("p"), 3),
        (workflow.DefinitionInvalid("etl", []), 2),
        (workflow.ExecutionInputInvalid("etl", []), 2),
        (workflow.DefinitionConflict("etl", "1.0.0", "1.0.1"), 4),
        (workflow.ExecutionExists("x1"), 4),
        (workflow.RequestIdReused("r1", "x1"), 4),
        (plugin.WrongIncarnation("i-1", 1, 2), 4),
        (service.ServiceUnreachable("orchestrator", "127.0.0.1:7401", "connection refused"), 5),
        (service.StoreUnavailable("a.db", "no space left"), 5),
        (routing.BalancerWarming(), 5),
        (routing.NotRegistered("p", ()), 3),
        (routing.NoneHealthy("p", 2), 4),
        (routing.CircuitOpen("p", None), 4),
        (routing.AllFull("p", 2), 4),
        (service.Internal("3f9a"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Fault) else str(value),
)
def test_a_fault_ends_in_its_exit_code(fault: Fault, exit_code: int) -> None:
    assert problem_of(fault).exit_code == exit_code
