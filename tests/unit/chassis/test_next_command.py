import pytest

from forgemesh.chassis.next_command import (
    IN_KUBERNETES,
    VARIABLES,
    Unreached,
    is_on_this_machine,
    next_command,
    unnamed,
    unreachable,
)

POD = {IN_KUBERNETES: "10.96.0.1"}


@pytest.mark.parametrize("address", ["127.0.0.1:7401", "localhost:7401", "[::1]:7401", "orchestrator:7401"])
def test_inside_a_cluster_nobody_is_told_to_start_a_mesh_of_their_own(address: str) -> None:
    said = next_command("orchestrator", address, POD)

    assert "`kubectl get pods -l app.kubernetes.io/name=orchestrator`" in said
    assert "forgemesh up" not in said


@pytest.mark.parametrize("address", ["mesh.example.org:7401", "10.0.0.7:7401", "[2001:db8::1]:7401"])
def test_nor_is_who_has_named_another_machine(address: str) -> None:
    said = next_command("orchestrator", address, {})

    assert "kubectl get pods" in said
    assert "FORGEMESH_ADDRESS" in said
    assert "forgemesh up" not in said


@pytest.mark.parametrize("address", ["127.0.0.1:7401", "localhost:7401", "[::1]:7401"])
def test_on_one_machine_a_mesh_is_started_with_up(address: str) -> None:
    assert is_on_this_machine(address)
    assert "`forgemesh up`" in next_command("orchestrator", address, {})


def test_what_is_no_service_of_the_mesh_is_looked_for_among_all_pods() -> None:
    assert "-l app.kubernetes.io/part-of=forgemesh" in next_command("instance words-1", "10.0.0.7:7410", POD)


def test_the_fault_says_which_service_where_why_and_what_next() -> None:
    fault = unreachable("registry", "registry:7402", "connection refused", POD)

    assert fault.message == (
        "cannot reach the registry at registry:7402: connection refused; look at its pods with `kubectl get pods -l"
        " app.kubernetes.io/name=registry`, or name another address in the settings"
    )
    assert fault.metadata["cause"] == "connection refused"


@pytest.mark.parametrize("service", VARIABLES)
@pytest.mark.parametrize("lack", [Unreached.SILENT, Unreached.OTHER])
def test_who_is_there_and_does_not_answer_is_no_reason_to_start_a_mesh(service: str, lack: Unreached) -> None:
    said = next_command(service, "127.0.0.1:7402", {}, lack)

    assert "start a mesh" not in said
    assert VARIABLES[service] in said


@pytest.mark.parametrize("service", sorted(VARIABLES.keys() - {"orchestrator"}))
@pytest.mark.parametrize("lack", Unreached)
def test_a_service_behind_the_orchestrator_is_one_of_a_mesh_that_runs(service: str, lack: Unreached) -> None:
    said = next_command(service, "127.0.0.1:7402", {}, lack)

    assert "start a mesh" not in said
    assert "FORGEMESH_ADDRESS" not in said


@pytest.mark.parametrize("address", ["127.0.0.1:1", "mesh.example.org:7402"])
@pytest.mark.parametrize(("service", "variable"), VARIABLES.items())
@pytest.mark.parametrize("lack", Unreached)
def test_a_variable_that_names_the_wrong_place_is_named_itself(
    service: str, variable: str, address: str, lack: Unreached
) -> None:
    said = next_command(service, address, {variable: address}, lack)

    assert said == f"{variable} says that it is there: correct that, or unset it"


def test_what_no_variable_names_is_not_looked_for_by_one() -> None:
    for lack in Unreached:
        said = next_command("instance words-1", "127.0.0.1:7410", {}, lack)

        assert "FORGEMESH_" not in said


def test_a_service_that_the_orchestrator_does_not_know_is_set_there() -> None:
    fault = unnamed("balancer", "127.0.0.1:7401")

    assert fault.message.endswith("set FORGEMESH_ORCHESTRATOR_BALANCER for it, and start it again")
