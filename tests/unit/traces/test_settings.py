from pathlib import Path

import pytest

from forgemesh.chassis.settings import SettingsError, load_settings
from forgemesh.traces.settings import TracesSettings


def test_without_a_word_traces_stay_for_a_week_and_a_million_spans() -> None:
    settings = load_settings(TracesSettings, section="traces", environment={})

    assert (settings.listen, settings.health_listen) == ("127.0.0.1:7405", "127.0.0.1:7505")
    assert settings.database == Path(".forgemesh/traces.db")
    assert (settings.retention().max_age, settings.retention().max_spans) == (7 * 24 * 3600, 1_000_000)


def test_the_environment_says_where_and_how_long_traces_are_kept() -> None:
    environment = {
        "FORGEMESH_TRACES_DATABASE": "elsewhere/spans.db",
        "FORGEMESH_TRACES_MAX_AGE_SECONDS": "60",
        "FORGEMESH_TRACES_MAX_SPANS": "1000",
    }

    settings = load_settings(TracesSettings, section="traces", environment=environment)

    assert settings.database == Path("elsewhere/spans.db")
    assert (settings.max_age_seconds, settings.max_spans) == (60, 1000)


@pytest.mark.parametrize("name", ["MAX_AGE_SECONDS", "MAX_SPANS"])
def test_a_retention_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=name.lower()):
        load_settings(TracesSettings, section="traces", environment={f"FORGEMESH_TRACES_{name}": "0"})
