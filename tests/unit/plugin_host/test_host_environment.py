import os
from dataclasses import replace

from forgemesh.plugin_host.supervisor.plan.plan import Limits, PluginPlan
from forgemesh.plugin_host.supervisor.processes.environment import Credentials, host_environment
from forgemesh.plugin_host.supervisor.settings import SupervisorSettings

SETTINGS = SupervisorSettings(registry="127.0.0.1:1", traces="127.0.0.1:2")


CREDENTIALS = Credentials(
    instance_id="stats-1", token="once", tenure="long", owner_token="secret", supervisor="127.0.0.1:3"
)
PLAN = PluginPlan(
    name="stats",
    load="weather_stats:WeatherStats",
    directories=("/plugins", "/shared"),
    inherit=("WEATHER_LEDGER",),
)


def environment(ours: dict[str, str], plan: PluginPlan = PLAN, **section: str) -> dict[str, str]:
    return host_environment(replace(plan, environment=section), SETTINGS, ours, CREDENTIALS)


def test_a_host_gets_what_it_needs_and_no_more() -> None:
    found = environment(
        {
            "PATH": "/bin",
            "LC_ALL": "C.UTF-8",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "FORGEMESH_SUPERVISOR_LISTEN": "127.0.0.1:0",
            "GRPC_VERBOSITY": "debug",
        }
    )

    assert found == {
        "PATH": "/bin",
        "LC_ALL": "C.UTF-8",
        "FORGEMESH_HOST_LOAD": "weather_stats:WeatherStats",
        "FORGEMESH_HOST_PATH": f"/plugins{os.pathsep}/shared",
        "FORGEMESH_HOST_INSTANCE_ID": "stats-1",
        "FORGEMESH_HOST_NAME": "stats",
        "FORGEMESH_HOST_OWNER_TOKEN": "secret",
        "FORGEMESH_HOST_TENURE": "long",
        "FORGEMESH_HOST_TOKEN": "once",
        "FORGEMESH_HOST_SUPERVISOR": "127.0.0.1:3",
        "FORGEMESH_HOST_REGISTRY": "127.0.0.1:1",
        "FORGEMESH_HOST_TRACES": "127.0.0.1:2",
        "PYTHONUNBUFFERED": "1",
    }


def test_a_section_names_what_else_is_passed_on() -> None:
    assert environment({"WEATHER_LEDGER": "/ledger"})["WEATHER_LEDGER"] == "/ledger"
    assert "WEATHER_LEDGER" not in environment({})


def test_a_section_sets_variables_over_ours() -> None:
    assert environment({"TZ": "UTC"}, TZ="Europe/Berlin")["TZ"] == "Europe/Berlin"


def test_nobody_else_says_who_a_host_is() -> None:
    ours = {"FORGEMESH_HOST_INSTANCE_ID": "other", "FORGEMESH_HOST_QUEUE_LIMIT": "7"}
    found = environment(ours, FORGEMESH_HOST_LOAD="other:Other")

    assert found["FORGEMESH_HOST_INSTANCE_ID"] == "stats-1"
    assert found["FORGEMESH_HOST_LOAD"] == "weather_stats:WeatherStats"
    assert found["FORGEMESH_HOST_QUEUE_LIMIT"] == "7"


def test_a_program_gets_what_it_needs_to_call_back() -> None:
    found = environment({"PATH": "/bin"}, PluginPlan(name="stats", command=("/opt/stats",)))

    assert found == {
        "PATH": "/bin",
        "FORGEMESH_HOST_INSTANCE_ID": "stats-1",
        "FORGEMESH_HOST_NAME": "stats",
        "FORGEMESH_HOST_OWNER_TOKEN": "secret",
        "FORGEMESH_HOST_TENURE": "long",
        "FORGEMESH_HOST_TOKEN": "once",
        "FORGEMESH_HOST_SUPERVISOR": "127.0.0.1:3",
        "FORGEMESH_HOST_REGISTRY": "127.0.0.1:1",
        "FORGEMESH_HOST_TRACES": "127.0.0.1:2",
    }


def test_limits_grace_and_reattachment_are_told_to_the_host() -> None:
    limits = Limits(memory=1 << 28, open_files=256)
    found = environment({}, replace(PLAN, grace=10.0, reattach=True, limits=limits))

    assert (found["FORGEMESH_HOST_MEMORY_BYTES"], found["FORGEMESH_HOST_OPEN_FILES"]) == ("268435456", "256")
    assert found["FORGEMESH_HOST_GRACE"] == "8"
    assert (found["FORGEMESH_HOST_REATTACH"], found["FORGEMESH_HOST_REATTACH_SECONDS"]) == ("1", "60")
    assert found["FORGEMESH_HOST_SUPERVISOR_FILE"] == str(SETTINGS.address_file.absolute())
