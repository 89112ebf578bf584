"""What an operator types about the plugins of a machine."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from forgemesh.api.supervisor.v1 import supervisor_service_pb2 as pb
from forgemesh.api.supervisor.v1.host_pb2 import Host, HostPhase, HostState, HostTransition
from forgemesh.cli import plugin_control, plugin_hosts, plugin_logs
from forgemesh.cli.exits import BY_CODE, ExitCode
from forgemesh.cli.problem import Problem, problem_of
from forgemesh.faults import Fault, Violation, code_of
from forgemesh.faults.supervisor import (
    ConfigInvalid,
    ConfigRejected,
    DependentsLive,
    LoadFailed,
    PluginNotConfigured,
    ReloadFailed,
    ScaleOutOfBounds,
)
from tests.component.cli.supervisors import ScriptedSupervisor, supervised
from tests.component.cli.typed import Typed

STOCK = Host(
    instance_id="stock-1",
    name="stock",
    load="stock:Stock",
    plugin_id="shop.stock",
    plugin_version="1.0.0",
    state=HostState.HOST_STATE_CRASH_LOOP,
    reason="exit code 3: no database",
    restarts=5,
    history=[
        HostTransition(state=HostState.HOST_STATE_READY, pid=7),
        HostTransition(
            state=HostState.HOST_STATE_BACKOFF,
            pid=7,
            signal=9,
            phase=HostPhase.HOST_PHASE_SERVING,
            reason="killed",
        ),
    ],
)
PRICES = Host(
    instance_id="prices-1",
    name="prices",
    load="prices:Prices",
    plugin_id="shop.prices",
    plugin_version="2.0.0",
    state=HostState.HOST_STATE_DEGRADED,
    pid=42,
    missing=["shop.stock"],
)


@pytest.fixture
def supervisor() -> ScriptedSupervisor:
    return ScriptedSupervisor(listed=[PRICES, STOCK])


@pytest.fixture
async def typed(supervisor: ScriptedSupervisor) -> AsyncIterator[Typed]:
    async with supervised(supervisor) as typed:
        yield typed


async def test_hosts_show_where_each_stands_and_what_to_do(typed: Typed) -> None:
    await plugin_hosts.hosts(line=typed.line())

    assert typed.out.getvalue().splitlines() == [
        "NAME    INSTANCE  PLUGIN       VERSION  STATE       PID  RESTARTS  MISSING     REASON",
        "prices  prices-1  shop.prices  2.0.0    degraded    42   -         shop.stock  -",
        "stock   stock-1   shop.stock   1.0.0    crash loop  -    5         -           exit code 3: no database",
    ]
    assert typed.talk == [
        "stock-1 crashed too often and is not started again; mend stock:Stock, then: forgemesh plugin reset stock-1"
    ]


@pytest.mark.parametrize("asked", ["stock", "stock-1", "shop.stock"])
async def test_hosts_are_named_by_section_instance_or_plugin_and_have_a_history(typed: Typed, asked: str) -> None:
    await plugin_hosts.hosts(asked, history=True, line=typed.line())

    assert [row[1] for row in typed.rows if row and row[0] in ("stock", "prices")] == ["stock-1"]
    assert "  backoff  7    was killed by SIGKILL  serving  killed" in typed.out.getvalue()


async def test_programs_get_the_hosts_as_messages(typed: Typed) -> None:
    await plugin_hosts.hosts("stock", line=typed.line(json=True))

    (host,) = typed.value["hosts"]
    assert (host["state"], host["history"][1]["phase"]) == ("HOST_STATE_CRASH_LOOP", "HOST_PHASE_SERVING")


async def test_what_nobody_runs_is_told_with_what_runs(typed: Typed) -> None:
    with pytest.raises(Problem) as refused:
        await plugin_hosts.hosts("stok", line=typed.line())

    assert refused.value.exit_code is ExitCode.NOT_FOUND
    assert refused.value.details == ("plugins: prices, stock", "instances: prices-1, stock-1")


async def test_a_load_shows_the_order_in_which_plugins_started(typed: Typed, supervisor: ScriptedSupervisor) -> None:
    supervisor.answers["LoadPlugins"] = pb.LoadPluginsResponse(
        plugins=[
            pb.LoadedPlugin(name="prices", plugin_id="shop.prices", version="2.0.0", missing=["shop.tax"]),
            pb.LoadedPlugin(name="stock", plugin_id="shop.stock", version="1.0.0", started=True, level=1),
        ]
    )

    await plugin_control.load("shop.stock", line=typed.line())

    assert supervisor.requests == [pb.LoadPluginsRequest(names=["stock"])]
    assert typed.rows[1:] == [
        ["0", "prices", "shop.prices", "2.0.0", "before", "shop.tax"],
        ["1", "stock", "shop.stock", "1.0.0", "now", "-"],
    ]


async def test_an_unload_names_what_was_stopped_and_the_way_back(typed: Typed, supervisor: ScriptedSupervisor) -> None:
    supervisor.answers["UnloadPlugin"] = pb.UnloadPluginResponse(stopped=["prices", "stock"])

    await plugin_control.unload("stock", cascade=True, line=typed.line())

    assert supervisor.requests == [pb.UnloadPluginRequest(name="stock", cascade=True)]
    assert typed.out.getvalue() == "stopped prices\nstopped stock\n"
    assert typed.talk == ["start again with: forgemesh plugin load stock prices"]


async def test_a_reload_names_versions_and_new_instances(typed: Typed, supervisor: ScriptedSupervisor) -> None:
    supervisor.answers["ReloadPlugin"] = pb.ReloadPluginResponse(
        from_version="1.0.0", to_version="1.1.0", instance_ids=["stock-2"]
    )

    await plugin_control.reload("stock", line=typed.line())

    assert typed.out.getvalue() == "reloaded stock 1.0.0 -> 1.1.0: stock-2\n"


async def test_a_scaling_names_what_was_wanted_before(typed: Typed, supervisor: ScriptedSupervisor) -> None:
    supervisor.answers["ScalePlugin"] = pb.ScalePluginResponse(before=1)

    await plugin_control.scale("stock", 3, line=typed.line())

    assert supervisor.requests == [pb.ScalePluginRequest(name="stock", instances=3)]
    assert typed.out.getvalue() == "stock: 3 instances wanted, before 1\n"


@pytest.mark.parametrize(
    ("asked", "request_"),
    [("stock", pb.ResetHostRequest(name="stock")), ("stock-1", pb.ResetHostRequest(instance_id="stock-1"))],
)
async def test_a_reset_means_an_instance_or_a_section(
    typed: Typed, supervisor: ScriptedSupervisor, asked: str, request_: pb.ResetHostRequest
) -> None:
    supervisor.answers["ResetHost"] = pb.ResetHostResponse(instance_ids=["stock-1"])

    await plugin_control.reset(asked, line=typed.line())

    assert supervisor.requests == [request_]
    assert typed.out.getvalue() == "reset stock-1\n"


async def test_a_configuration_comes_from_pairs_or_files(
    typed: Typed, supervisor: ScriptedSupervisor, tmp_path: Path
) -> None:
    supervisor.answers["ConfigurePlugin"] = pb.ConfigurePluginResponse(revision=4)
    (tmp_path / "c.toml").write_text('port = 5\n[db]\nname = "x"\n')
    (tmp_path / "c.json").write_text('{"port": 9007199254740993}')

    await plugin_control.configure("stock", "port=5", "name=x", line=typed.line())
    await plugin_control.configure("stock", "port=6", file=str(tmp_path / "c.toml"), line=typed.line())
    await plugin_control.configure("stock", file=str(tmp_path / "c.json"), dry_run=True, line=typed.line())

    sent = [json.loads(request.config) for request in supervisor.requests]
    assert sent == [{"port": 5, "name": "x"}, {"port": 6, "db": {"name": "x"}}, {"port": 9007199254740993}]
    assert [request.dry_run for request in supervisor.requests] == [False, False, True]
    assert typed.out.getvalue().splitlines() == [
        "configured stock, revision 4",
        "configured stock, revision 4",
        "the configuration fits stock",
    ]


async def test_that_a_state_may_be_lost_has_to_be_said(typed: Typed, supervisor: ScriptedSupervisor) -> None:
    supervisor.answers["ReloadPlugin"] = pb.ReloadPluginResponse(to_version="2.0.0", instance_ids=["stock-2"])
    supervisor.answers["ConfigurePlugin"] = pb.ConfigurePluginResponse(revision=4, reloaded=True)

    await plugin_control.reload("stock", line=typed.line())
    await plugin_control.reload("stock", force=True, line=typed.line())
    await plugin_control.configure("stock", "port=5", line=typed.line())
    await plugin_control.configure("stock", "port=5", force=True, line=typed.line())

    assert [request.force for request in supervisor.requests] == [False, True, False, True]


async def test_a_configuration_that_is_none_is_refused_here(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("port = ")
    (tmp_path / "date.toml").write_text("day = 2026-01-01")
    for file, said in ((None, "no configuration"), ("bad.toml", "not valid TOML"), ("date.toml", "JSON cannot say")):
        with pytest.raises(Problem, match=said) as refused:
            await plugin_control.configure("stock", file=file and str(tmp_path / file), line=typed.line())
        assert refused.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (DependentsLive("stock", ["prices"]), "forgemesh plugin unload stock --cascade"),
        (ReloadFailed("stock", "INIT", "no database"), "phase INIT: no database"),
        (LoadFailed("stock", "HEALTH", "too late", ["prices"]), "stopped again: prices"),
        (PluginNotConfigured("stok", ["stock"]), "it runs: stock"),
        (ConfigInvalid("stock", [Violation("$.port", "is not an integer")]), "$.port: is not an integer"),
        (ConfigRejected("stock", "stock-1", "the port is taken"), "the one before it counts"),
        (ScaleOutOfBounds("stock", 9, 1, 4), "1 to 4 instances, not 9"),
    ],
)
async def test_what_the_supervisor_refuses_ends_in_its_words_and_its_exit_code(
    typed: Typed, supervisor: ScriptedSupervisor, fault: Fault, said: str
) -> None:
    supervisor.refusal = fault

    with pytest.raises(type(fault)) as refused:
        await plugin_control.reload("stock", line=typed.line())

    problem = problem_of(refused.value)
    assert said in problem.as_text()
    assert problem.exit_code is BY_CODE[code_of(fault)]


RECORD = json.dumps({"at": "2026-11-25T10:00:01.5Z", "level": "WARNING", "message": "low", "execution_id": "x1"})


async def test_logs_are_printed_as_people_read_them(typed: Typed, supervisor: ScriptedSupervisor) -> None:
    supervisor.lines = [
        pb.TailLogsResponse(instance_id="stock-1", line="plain \x1b[2J output"),
        pb.TailLogsResponse(instance_id="prices-1", line=RECORD, dropped=3),
    ]

    await plugin_logs.logs(lines=5, line=typed.line())

    assert supervisor.requests == [pb.TailLogsRequest(lines=5)]
    assert typed.out.getvalue().splitlines() == [
        "stock-1  plain  [2J output",
        "prices-1  ... 3 lines were left out: they came too fast",
        "prices-1  10:00:01 WARNING low (x1)",
    ]


async def test_logs_of_one_instance_do_not_name_it_and_programs_get_records(
    typed: Typed, supervisor: ScriptedSupervisor
) -> None:
    supervisor.lines = [pb.TailLogsResponse(instance_id="stock-1", line=RECORD)]

    await plugin_logs.logs("stock-1", follow=True, line=typed.line())
    await plugin_logs.logs("shop.stock", line=typed.line(json=True))

    plain, for_programs = typed.out.getvalue().splitlines()
    assert plain == "10:00:01 WARNING low (x1)"
    assert json.loads(for_programs)["record"]["message"] == "low"
    assert supervisor.requests == [
        pb.TailLogsRequest(instance_id="stock-1", lines=10, follow=True),
        pb.TailLogsRequest(name="stock", lines=10),
    ]


@pytest.mark.parametrize("lines", [0, -1, 1001])
async def test_a_number_of_lines_that_nobody_keeps_is_refused(typed: Typed, lines: int) -> None:
    with pytest.raises(Problem, match="is no number of lines"):
        await plugin_logs.logs(lines=lines, line=typed.line())
