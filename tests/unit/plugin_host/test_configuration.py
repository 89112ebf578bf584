import json
from pathlib import Path

import pytest

from forgemesh.plugin_host.supervisor.plan.config import ConfigurationInvalid, read_configuration
from forgemesh.plugin_host.supervisor.plan.plan import Limits
from forgemesh.plugin_host.supervisor.plan.restart import RestartPolicy, RestartRule
from forgemesh.routing.scaling import ScaleRule


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "forgemesh.toml"
    file.write_text(text, encoding="utf-8")
    return file


def mistakes_of(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigurationInvalid) as refused:
        read_configuration(written(tmp_path, text))
    return "\n".join(refused.value.mistakes)


def test_a_section_gives_as_many_hosts_as_it_asks_for(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
        [orchestrator]
        listen = "127.0.0.1:0"
        [plugins.weather-stats]
        load = "weather_stats:WeatherStats"
        path = ["plugins", "/opt/shared"]
        instances = 2
        environment = { KEY = "value" }
        inherit = ["WEATHER_LEDGER"]
        [plugins.weather-reader]
        load = "weather_reader:WeatherReader"
        """,
    )

    stats, reader = read_configuration(file)
    assert (stats.name, stats.load, stats.instances) == ("weather-stats", "weather_stats:WeatherStats", 2)
    assert stats.directories == (str(tmp_path / "plugins"), "/opt/shared")
    assert stats.environment == {"KEY": "value"}
    assert stats.inherit == ("WEATHER_LEDGER",)
    assert reader.directories == (str(tmp_path),)
    assert (reader.instances, reader.restart, reader.config) == (1, RestartRule(), "")


def test_a_section_may_ask_for_no_host(tmp_path: Path) -> None:
    (plan,) = read_configuration(written(tmp_path, '[plugins.a]\nload = "a:A"\ninstances = 0'))

    assert plan.instances == 0


def test_everything_that_a_section_may_say(tmp_path: Path) -> None:
    environment = tmp_path / "env" / "bin"
    environment.mkdir(parents=True)
    (environment / "python").touch()
    file = written(
        tmp_path,
        """
        [plugins.a]
        load = "entry:shop-stock"
        python = "env"
        instances = 1
        min_instances = 2
        max_instances = 4
        config = { size = 3, key = { file = "/run/secrets/key" } }
        limits = { memory = "256MiB", cpu = 0.5, open_files = 256 }
        scale = { target = 0.5, down_after = "1m", up_after = 0 }
        start_timeout = "5s"
        change_timeout = "1m"
        grace = 2
        restart = "on-failure"
        crash_budget = { crashes = 3, within = "1m" }
        lazy = true
        idle_stop = "5m"
        reattach = true
        """,
    )

    (plan,) = read_configuration(file)
    assert plan.load == "entry:shop-stock"
    assert plan.python == str(environment / "python")
    assert (plan.instances, plan.least, plan.most) == (2, 2, 4)
    assert json.loads(plan.config) == {"size": 3, "key": {"file": "/run/secrets/key"}}
    assert plan.limits == Limits(memory=256 << 20, cpu=0.5, open_files=256)
    assert plan.scale == ScaleRule(least=2, most=4, target=0.5, up_after=0.0, down_after=60.0)
    assert (plan.start_timeout, plan.change_timeout, plan.grace, plan.idle_stop) == (5.0, 60.0, 2.0, 300.0)
    assert plan.restart == RestartRule(policy=RestartPolicy.ON_FAILURE, crashes=3, within=60.0)
    assert (plan.lazy, plan.reattach, plan.exclusive) == (True, True, False)


def test_a_plugin_may_be_a_program(tmp_path: Path) -> None:
    (tmp_path / "stats.toml").write_text('id = "shop.stats"\nversion = "1.0.0"\n[operations.count]\n')
    text = '[plugins.a]\ncommand = ["bin/stats", "--quiet"]\nmanifest = "stats.toml"'
    (beside,) = read_configuration(written(tmp_path, text))
    (found,) = read_configuration(written(tmp_path, '[plugins.a]\ncommand = ["node", "stats.js"]'))

    assert beside.command == (str(tmp_path / "bin" / "stats"), "--quiet")
    assert beside.manifest is not None
    assert (beside.manifest.plugin_id, beside.manifest.version) == ("shop.stats", "1.0.0")
    assert found.command == ("node", "stats.js")


def test_a_manifest_that_is_wrong_is_refused_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "stats.toml").write_text('id = "shop.stats"\nversion = "one"\ncolour = "red"\n[operations.count]\n')
    text = (
        '[plugins.a]\ncommand = ["stats"]\nmanifest = "stats.toml"\n[plugins.b]\ncommand = ["x"]\nmanifest = "no.toml"'
    )

    found = mistakes_of(tmp_path, text)

    assert "[plugins.a] manifest stats.toml: " in found
    assert "colour" in found
    assert "one" in found
    assert "[plugins.b] manifest no.toml: it cannot be read" in found


def test_a_budget_that_no_section_names_is_that_of_the_supervisor(tmp_path: Path) -> None:
    text = '[plugins.a]\nload = "a:A"\n[plugins.b]\nload = "b:B"\ncrash_budget = { crashes = 2 }'
    a, b = read_configuration(written(tmp_path, text), RestartRule(crashes=9, within=60.0))

    assert (a.restart.crashes, a.restart.within) == (9, 60.0)
    assert (b.restart.crashes, b.restart.within) == (2, 60.0)


@pytest.mark.parametrize(
    ("keys", "mistake"),
    [
        ('command = ["x"]', "load and command exclude one another"),
        ('limits = { memory = "lots" }', "limits.memory: 'lots' is not an amount of memory; write e.g. \"256MiB\""),
        ("limits = { memory_bytes = 7 }", "memory_bytes"),
        ('limits = { open_files = "many" }', "limits.open_files"),
        ('start_timeout = "soon"', "start_timeout: 'soon' is not a length of time"),
        ("change_timeout = 0", "change_timeout: 0 is not a positive length of time"),
        ("grace = -1", "grace: -1 is not a positive length of time"),
        ("min_instances = 3\nmax_instances = 2", "min_instances = 3 is above max_instances = 2"),
        ("scale = { target = 0.5 }", "scale needs max_instances"),
        ('idle_stop = "5m"', "idle_stop needs lazy = true"),
        ("exclusive = true\ninstances = 2", "exclusive allows one instance only, and instances = 2"),
        ("exclusive = true\nmin_instances = 3", "exclusive allows one instance only, and min_instances = 3"),
        ("exclusive = true\nmax_instances = 3", "exclusive allows one instance only, and max_instances = 3"),
        ('environment = { "A=B" = "c" }', "'A=B' is no name of an environment variable: it holds = or NUL"),
        ('environment = { "A\\u0000" = "c" }', "is no name of an environment variable: it holds = or NUL"),
        ('environment = { A = "b\\u0000c" }', "'environment.A' holds the character NUL"),
        ('environment = { A = "' + 131_072 * "b" + '" }', "'environment.A' is longer than 131071 bytes"),
        ('inherit = ["A=B"]', "'A=B' is no name of an environment variable"),
        ('path = "a\\u0000b"', "holds the character NUL"),
        ('python = "a\\u0000b"', "'python' holds the character NUL"),
        ('limits = { memory = "2000000 GB" }', "limits.memory: '2000000 GB' is above 1125899906842624 bytes"),
        ("limits = { cpu = inf }", "limits.cpu"),
        ("limits = { cpu = nan }", "limits.cpu"),
        ("limits = { cpu = 1e300 }", "limits.cpu"),
        ("limits = { open_files = 100000000000000000000 }", "limits.open_files"),
        ("start_timeout = 1e300", "start_timeout: 1e300 is above 31622400 seconds"),
        (f"start_timeout = {10**400}", "start_timeout: "),
        ("max_instances = 3\nscale = { down_after = '2h' }", "scale.down_after: '2h' is above 3600 seconds"),
        ("max_instances = 3\nscale = { target = nan }", "scale.target"),
        ("crash_budget = { crashes = 100000000000000000000 }", "crash_budget.crashes"),
        ('manifest = "a.toml"', "manifest has no meaning beside load"),
        ('restart = "sometimes"', "Invalid enum value 'sometimes'"),
        ("crash_budget = { crashes = 0 }", "crash_budget.crashes"),
        ("lasy = true", "unknown key 'lasy'; did you mean 'lazy'?"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, keys: str, mistake: str) -> None:
    assert mistake in mistakes_of(tmp_path, f'[plugins.a]\nload = "a:A"\n{keys}')


@pytest.mark.parametrize(
    ("keys", "mistake"),
    [
        ("command = []", "command is empty"),
        ('command = ["x"]\npython = "env"', "python has no meaning beside command"),
        ('command = ["x"]\nlazy = true', "lazy needs load"),
        ('command = ["x", "a\\u0000b"]', "'command[1]' holds the character NUL"),
        ('command = ["x"]\nmanifest = "a\\u0000b"', "'manifest' holds the character NUL"),
        ('command = ["x"]\nreattach = true', "reattach needs load"),
    ],
)
def test_what_a_program_cannot_have_is_refused(tmp_path: Path, keys: str, mistake: str) -> None:
    assert mistake in mistakes_of(tmp_path, f"[plugins.a]\n{keys}")


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    found = mistakes_of(
        tmp_path,
        """
        [plugins.Stats]
        load = "weather_stats"
        instance = 2
        colour = "red"
        [plugins.reader]
        instances = -1
        environment = { KEY = 7 }
        [plugins.report]
        load = "weather_report:WeatherReport"
        inherit = ["A", "B", "A"]
        path = ""
        """,
    )

    for mistake in (
        "[plugins.Stats] the name is not made of lower-case letters",
        '[plugins.Stats] load = \'weather_stats\' is not "module:Class" or "entry:NAME"',
        "[plugins.Stats] unknown key 'instance'; did you mean 'instances'?",
        "[plugins.Stats] unknown key 'colour'; known: load, path, instances, environment, inherit, command,",
        '[plugins.reader] load is missing; write load = "module:Class"',
        "[plugins.reader] Expected `int` >= 0 - at `$.instances`",
        "[plugins.reader] Expected `str`, got `int` - at `$.environment[...]`",
        "[plugins.report] inherit lists 'A' twice",
        "[plugins.report] path, inherit and environment must not hold an empty name",
    ):
        assert mistake in found


def test_the_same_section_twice_is_refused(tmp_path: Path) -> None:
    assert "plugins" in mistakes_of(tmp_path, '[plugins.a]\nload = "a:A"\n[plugins.a]\nload = "a:A"')


def test_a_misspelt_table_is_named(tmp_path: Path) -> None:
    assert "did you mean [plugin] to be [plugins]?" in mistakes_of(tmp_path, '[plugin.a]\nload = "a:A"')


@pytest.mark.parametrize("text", ["", "[plugins]", 'plugins = "a:A"', "[plugins]\na = 1"])
def test_a_file_without_hosts_is_refused(tmp_path: Path, text: str) -> None:
    assert "[plugins" in mistakes_of(tmp_path, text)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match="No such file"):
        read_configuration(tmp_path / "nowhere.toml")
