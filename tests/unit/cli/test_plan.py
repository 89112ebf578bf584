from pathlib import Path
from typing import Any

import pytest

from forgemesh.cli.mesh.plan import BALANCER, ORCHESTRATOR, REGISTRY, SERVICES, SUPERVISOR, Plan, unknown_tables

DATA = Path("data")


def plan(environment: dict[str, str] | None = None, **changes: Any) -> Plan:
    return Plan(**{"data": DATA, "tables": {}, "environment": environment or {}, **changes})


def test_everything_that_a_service_needs_starts_in_an_earlier_stage() -> None:
    started: set[str] = set()
    for stage in plan(tables={"plugins": {"a": {}}}).stages:
        for service in stage:
            assert started.issuperset(service.needs)
        started |= {service.name for service in stage}


def test_without_plugins_there_is_no_supervisor() -> None:
    services = {service.name for stage in plan().stages for service in stage}

    assert services == {"traces", "registry", "balancer", "orchestrator"}


def test_no_two_services_share_a_port() -> None:
    places = [place for service in SERVICES for place in plan().listens(service)]

    assert len(set(places)) == len(places) == 10


def test_the_ports_are_the_documented_ones() -> None:
    assert {service.name: plan().listens(service) for service in SERVICES} == {
        "orchestrator": ("127.0.0.1:7401", "127.0.0.1:7501"),
        "registry": ("127.0.0.1:7402", "127.0.0.1:7502"),
        "balancer": ("127.0.0.1:7403", "127.0.0.1:7503"),
        "supervisor": ("127.0.0.1:7404", "127.0.0.1:7504"),
        "traces": ("127.0.0.1:7405", "127.0.0.1:7505"),
    }


def test_with_any_port_nothing_else_counts() -> None:
    told = plan({"FORGEMESH_REGISTRY_LISTEN": "127.0.0.1:9"}, any_port=True, tables={"registry": {"listen": "h:1"}})

    assert told.listens(REGISTRY) == ("127.0.0.1:0", "127.0.0.1:0")


def test_the_configuration_moves_a_port_and_the_environment_wins_over_it() -> None:
    tables = {"registry": {"listen": "127.0.0.1:8"}}

    assert plan(tables=tables).listens(REGISTRY)[0] == "127.0.0.1:8"
    assert plan({"FORGEMESH_REGISTRY_LISTEN": "127.0.0.1:9"}, tables=tables).listens(REGISTRY)[0] == "127.0.0.1:9"


def test_a_service_is_told_where_those_are_that_it_needs() -> None:
    settings = plan({"PATH": "/bin"}).settings(BALANCER, ("a:1", "a:2"), {"registry": "r:1", "traces": "t:1"})

    assert settings == {
        "PATH": "/bin",
        "FORGEMESH_BALANCER_LISTEN": "a:1",
        "FORGEMESH_BALANCER_HEALTH_LISTEN": "a:2",
        "FORGEMESH_BALANCER_REGISTRY": "r:1",
        "FORGEMESH_BALANCER_DATABASE": "data/balancer.db",
    }


def test_databases_and_logs_go_into_the_data_directory() -> None:
    addresses = {service.name: "x:1" for service in SERVICES}
    told = plan(config=Path("forgemesh.toml"))

    assert told.settings(ORCHESTRATOR, ("", ""), addresses)["FORGEMESH_ORCHESTRATOR_DATABASE"] == "data/orchestrator.db"
    assert told.settings(SUPERVISOR, ("", ""), addresses)["FORGEMESH_SUPERVISOR_LOG_DIRECTORY"] == "data/logs"


def test_what_a_service_is_told_by_its_table_or_the_environment_stays() -> None:
    told = plan({"FORGEMESH_ORCHESTRATOR_TRACES": "elsewhere:1"}, tables={"orchestrator": {"database": "own.db"}})
    settings = told.settings(ORCHESTRATOR, ("", ""), {service.name: "x:1" for service in SERVICES})

    assert "FORGEMESH_ORCHESTRATOR_DATABASE" not in settings
    assert settings["FORGEMESH_ORCHESTRATOR_TRACES"] == "elsewhere:1"


@pytest.mark.parametrize("names", [["plugin"], ["registri", "plugins"]])
def test_an_unknown_table_is_found(names: list[str]) -> None:
    assert unknown_tables({name: {} for name in names}) == names[:1]


def test_plugins_and_services_are_known_tables() -> None:
    assert unknown_tables({"plugins": {}, **{service.name: {} for service in SERVICES}}) == []
