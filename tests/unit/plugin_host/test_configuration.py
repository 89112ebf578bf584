from pathlib import Path

import pytest

from forgemesh.plugin_host.supervisor.config import ConfigurationInvalid, read_configuration


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

    first, second, reader = read_configuration(file)
    assert [first.instance_id, second.instance_id, reader.instance_id] == [
        "weather-stats-1",
        "weather-stats-2",
        "weather-reader-1",
    ]
    assert first.directories == (str(tmp_path / "plugins"), "/opt/shared")
    assert first.environment == {"KEY": "value"}
    assert first.inherit == ("WEATHER_LEDGER",)
    assert reader.directories == (str(tmp_path),)


def test_a_section_may_ask_for_no_host(tmp_path: Path) -> None:
    assert read_configuration(written(tmp_path, '[plugins.a]\nload = "a:A"\ninstances = 0')) == []


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
        "[plugins.Stats] load = 'weather_stats' is not \"module:Class\"",
        "[plugins.Stats] unknown key 'instance'; did you mean 'instances'?",
        "[plugins.Stats] unknown key 'colour'; known: load, path, instances, environment, inherit",
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
